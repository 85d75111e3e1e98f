//! Names of fields that have come before, as the crate `http` has them.
//!
//! Heads say the same names again and again, and of those that are not in its list that crate makes
//! each anew, in memory of its own. Owns where they are kept and which give way. A name that nobody
//! else says costs a little more than it did without this, and may cost another one its place.

use http::HeaderName;

use crate::convert::named;
use crate::head::HeadError;
use crate::limits::{NAME_KEPT_BYTES_MAX, NAMES_KEPT, NAMES_OF_PLACE};

/// A worker's names, each as it was spelled.
#[derive(Debug, Default)]
pub struct Names {
    /// Empty before the first, and then [`NAMES_KEPT`], [`NAMES_OF_PLACE`] beside each other.
    kept: Vec<Option<Kept>>,
    /// Counts those that were put in another's stead, to take turns.
    replaced: usize,
}

#[derive(Debug)]
struct Kept {
    spelled: Box<[u8]>,
    name: HeaderName,
}

impl Names {
    /// The name that is spelled so.
    ///
    /// # Errors
    /// [`HeadError::FieldName`], which cannot be of a head that was read.
    pub fn of(&mut self, spelled: &[u8]) -> Result<HeaderName, HeadError> {
        if self.kept.is_empty() {
            self.kept.resize_with(NAMES_KEPT, || None);
        }
        let first = place_of(spelled) * NAMES_OF_PLACE;
        let place = self.kept.get_mut(first..first + NAMES_OF_PLACE);
        let place = place.unwrap_or_default();
        for kept in place.iter().flatten() {
            if *kept.spelled == *spelled {
                return Ok(kept.name.clone());
            }
        }
        let name = named(spelled)?;
        if spelled.len() <= NAME_KEPT_BYTES_MAX {
            let free = place.iter().position(Option::is_none);
            let taken = free.unwrap_or_else(|| {
                self.replaced = self.replaced.wrapping_add(1);
                self.replaced % NAMES_OF_PLACE
            });
            if let Some(one) = place.get_mut(taken) {
                *one = Some(Kept {
                    spelled: spelled.into(),
                    name: name.clone(),
                });
            }
        }
        Ok(name)
    }
}

/// The place of a name, by its length and both of its ends: names that are said in one head nearly
/// always differ in these.
fn place_of(spelled: &[u8]) -> usize {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    const PLACES: usize = NAMES_KEPT / NAMES_OF_PLACE;
    let first = match (spelled.first_chunk(), spelled.first_chunk()) {
        (Some(eight), _) => u64::from_le_bytes(*eight),
        (None, Some(four)) => u32::from_le_bytes(*four).into(),
        (None, None) => spelled.first().copied().unwrap_or_default().into(),
    };
    let last = match (spelled.last_chunk(), spelled.last_chunk()) {
        (Some(eight), _) => u64::from_le_bytes(*eight),
        (None, Some(four)) => u32::from_le_bytes(*four).into(),
        (None, None) => spelled.last().copied().unwrap_or_default().into(),
    };
    // Mixed twice: letters leave most bits of a word as they are.
    let mixed = (first ^ spelled.len() as u64).wrapping_mul(MIX);
    let mixed = (mixed.rotate_left(32) ^ last).wrapping_mul(MIX);
    usize::try_from(mixed >> (u64::BITS - PLACES.ilog2())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_is_however_often_it_comes() {
        let mut names = Names::default();
        let long = "x".repeat(NAME_KEPT_BYTES_MAX + 1);
        for _ in 0..3 {
            for spelled in ["Host", "host", "X-A", "x-a", "te", "a", &*long] {
                let name = names.of(spelled.as_bytes()).unwrap();
                assert_eq!(name.as_str(), spelled.to_ascii_lowercase());
            }
            assert_eq!(names.of(b"x y"), Err(HeadError::FieldName));
            assert_eq!(names.of(b""), Err(HeadError::FieldName));
        }
    }

    #[test]
    fn what_anybody_says_takes_no_more_than_the_places() {
        let mut names = Names::default();
        for number in 0..4 * NAMES_KEPT {
            let spelled = format!("x-name-{number:06}-end");
            assert_eq!(names.of(spelled.as_bytes()).unwrap().as_str(), spelled);
        }
        assert_eq!(names.kept.len(), NAMES_KEPT);
        assert!(
            names
                .of("y".repeat(NAME_KEPT_BYTES_MAX + 1).as_bytes())
                .is_ok()
        );
        let longest = names.kept.iter().flatten().map(|kept| kept.spelled.len());
        assert!(longest.max().unwrap() <= NAME_KEPT_BYTES_MAX);
    }

    /// What browsers and usual origins say keeps its places beside each other.
    #[test]
    fn usual_names_are_kept_together() {
        let usual = [
            "Host",
            "Connection",
            "sec-ch-ua",
            "sec-ch-ua-mobile",
            "sec-ch-ua-platform",
            "Upgrade-Insecure-Requests",
            "User-Agent",
            "Accept",
            "Sec-Fetch-Site",
            "Sec-Fetch-Mode",
            "Sec-Fetch-User",
            "Sec-Fetch-Dest",
            "Accept-Encoding",
            "Accept-Language",
            "Cookie",
            "Priority",
            "Content-Type",
            "Content-Length",
            "Origin",
            "Referer",
            "Authorization",
            "If-None-Match",
            "If-Modified-Since",
            "Date",
            "Server",
            "ETag",
            "Vary",
            "Cache-Control",
            "Last-Modified",
            "Set-Cookie",
            "Transfer-Encoding",
            "X-Powered-By",
            "X-Content-Type-Options",
        ];
        let more = [
            "Content-Security-Policy",
            "Referrer-Policy",
            "Permissions-Policy",
            "X-XSS-Protection",
            "Access-Control-Allow-Origin",
            "Strict-Transport-Security",
            "DNT",
            "TE",
            "Pragma",
            "Server-Timing",
            "X-Request-Id",
            "X-Forwarded-For",
            "Traceparent",
        ];
        let all = usual.iter().chain(&more);
        let lower: Vec<String> = all.clone().map(|name| name.to_ascii_lowercase()).collect();
        let lower = lower.iter().map(String::as_str);
        let all: Vec<&str> = all.copied().chain(lower).collect();
        let mut names = Names::default();
        for name in &all {
            drop(names.of(name.as_bytes()));
        }
        assert_eq!(names.replaced, 0);
        let kept: Vec<&[u8]> = names
            .kept
            .iter()
            .flatten()
            .map(|kept| &*kept.spelled)
            .collect();
        assert!(all.iter().all(|name| kept.contains(&name.as_bytes())));
    }
}
