//! The time at which an answer is given (RFC 9110 §6.6.1).

use std::cell::RefCell;
use std::time::SystemTime;

use http::HeaderValue;

use crate::clock;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

thread_local! {
    /// The second that was written last, and how.
    static LAST: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// The value of `Date` now. Written once a second.
#[must_use]
pub fn now() -> HeaderValue {
    let since = clock::since_epoch(clock::time()).as_secs();
    LAST.with_borrow_mut(|last| match last {
        Some((known, value)) if *known == since => value.clone(),
        _ => {
            let value = at(since);
            *last = Some((since, value.clone()));
            value
        }
    })
}

/// `IMF-fixdate` (RFC 9110 §5.6.7) of so many seconds after the epoch.
fn at(seconds: u64) -> HeaderValue {
    let time = SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    let date = time::OffsetDateTime::from(time.unwrap_or(SystemTime::UNIX_EPOCH));
    let day = usize::try_from(seconds / 86_400 % 7).unwrap_or_default();
    let month = usize::from(u8::from(date.month())) - 1;
    let text = format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS.get(day).unwrap_or(&"Thu"),
        date.day(),
        MONTHS.get(month).unwrap_or(&"Jan"),
        date.year(),
        date.hour(),
        date.minute(),
        date.second()
    );
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::at;

    #[test]
    fn dates_are_written_as_http_does() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
        ] {
            assert_eq!(at(seconds), expected, "{seconds}");
        }
    }
}
