//! Header maps that are used again on their thread: those of one request serve the next, while they are
//! hot. So are the names of fields that nearly every head says.

use std::cell::RefCell;

use bytes::Bytes;
use http::{HeaderMap, Uri, request};
use http1::{Head, HeadError, Names};

use crate::limits::{SPARE_HEADS_MAX, SPARE_MAP_FIELDS_MAX, SPARE_MAPS_MAX};

/// The head of a request. It goes through many hands, in each of which it would be copied.
pub type RequestHead = Box<request::Parts>;

thread_local! {
    static NAMES: RefCell<Names> = RefCell::default();
    static HEADS: RefCell<Vec<RequestHead>> = const { RefCell::new(Vec::new()) };
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map; the last one that was given back, if there is one.
#[must_use]
pub fn take() -> HeaderMap {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// A map of the fields of a head that was read from `bytes`.
///
/// # Errors
/// The fields are too many for a map.
pub fn of_head(head: &Head, bytes: &Bytes) -> Result<HeaderMap, HeadError> {
    let mut map = take();
    fill(&mut map, head, bytes)?;
    Ok(map)
}

/// Puts the fields of a head that was read from `bytes` into an empty map.
///
/// # Errors
/// The fields are too many for a map.
pub fn fill(map: &mut HeaderMap, head: &Head, bytes: &Bytes) -> Result<(), HeadError> {
    NAMES.with_borrow_mut(|names| head.share_into(bytes, names, map))
}

/// A head that says nothing; the last one that was given back, if there is one.
#[must_use]
pub fn take_head() -> RequestHead {
    let kept = HEADS.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.headers = take();
        Box::new(head)
    })
}

/// A head that somebody else has read.
#[must_use]
pub fn head_of(parts: request::Parts) -> RequestHead {
    let mut head = take_head();
    let before = std::mem::replace(&mut *head, parts);
    give_back(before.headers);
    head
}

/// Forgets what a head says and keeps its memory.
pub fn give_head_back(mut head: RequestHead) {
    if head.headers.capacity() > SPARE_MAP_FIELDS_MAX {
        return;
    }
    head.headers.clear();
    head.extensions.clear();
    // What it was read from is not kept for it.
    head.uri = Uri::default();
    head.method = http::Method::GET;
    HEADS.with_borrow_mut(|heads| {
        if heads.len() < SPARE_HEADS_MAX {
            heads.push(head);
        }
    });
}

/// Forgets what is in a map and keeps its memory.
pub fn give_back(mut map: HeaderMap) {
    if map.capacity() == 0 || map.capacity() > SPARE_MAP_FIELDS_MAX {
        return;
    }
    map.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_MAPS_MAX {
            spare.push(map);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_map_comes_back_empty_and_large_ones_do_not() {
        let mut map = HeaderMap::with_capacity(20);
        map.insert("a", HeaderValue::from_static("b"));
        let capacity = map.capacity();
        give_back(map);
        give_back(HeaderMap::with_capacity(2 * SPARE_MAP_FIELDS_MAX));
        let again = take();
        assert_eq!((again.len(), again.capacity()), (0, capacity));
        assert_eq!(take().capacity(), 0);
    }

    #[test]
    fn a_head_comes_back_and_says_nothing() {
        let request = http::Request::builder()
            .uri("/a?b")
            .method("M".repeat(1_000).as_str());
        let request = request.header("a", "b").extension(1_u8);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let head = head_of(parts);
        let place = std::ptr::from_ref(&*head);
        assert_eq!((head.headers.len(), head.uri.path()), (1, "/a"));
        give_head_back(head);
        let again = take_head();
        assert_eq!(std::ptr::from_ref(&*again), place);
        assert_eq!((again.headers.len(), again.uri.path()), (0, "/"));
        assert!(again.extensions.is_empty() && again.method == http::Method::GET);
    }
}
