//! JSON text into a byte buffer that is used again and again.
//!
//! Owns escaping: what comes from peers can neither end a string, nor start a new line, nor write
//! to a terminal, nor turn the direction of the text around it, nor grow without bound. Does not
//! know what is logged.

use std::cell::Cell;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::clock;
use crate::limits;

/// One JSON object being written.
pub(super) struct Object<'b> {
    out: &'b mut Vec<u8>,
    first: bool,
}

impl<'b> Object<'b> {
    /// Opens an object at the end of `out`.
    pub(super) fn open(out: &'b mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Closes it.
    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &'static str) {
        self.out.reserve(key.len() + 4);
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A text, escaped and cut.
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        text(self.out, value);
    }

    /// A text when there is one: an empty one is left out.
    pub(super) fn text_if(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    /// Texts, escaped and cut, a bounded number of them.
    pub(super) fn texts(&mut self, key: &'static str, values: &[&str], most: usize) {
        self.key(key);
        self.out.push(b'[');
        for (index, value) in values.iter().take(most).enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            text(self.out, value);
        }
        self.out.push(b']');
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        digits(self.out, value, 1);
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Seconds with six decimals.
    pub(super) fn seconds(&mut self, key: &'static str, value: Duration) {
        self.key(key);
        digits(self.out, value.as_secs(), 1);
        self.out.push(b'.');
        digits(self.out, u64::from(value.subsec_micros()), 6);
    }

    /// RFC 3339 in UTC with milliseconds: `2026-11-21T01:22:09.123Z`.
    pub(super) fn time(&mut self, key: &'static str, value: SystemTime) {
        self.key(key);
        self.out.push(b'"');
        rfc3339(self.out, value);
        self.out.push(b'"');
    }

    /// An address with its port.
    pub(super) fn address(&mut self, key: &'static str, value: SocketAddr) {
        self.key(key);
        self.out.push(b'"');
        match value {
            SocketAddr::V4(v4) => {
                ipv4(self.out, *v4.ip());
                self.out.push(b':');
                digits(self.out, u64::from(v4.port()), 1);
            }
            // Writing into a vector does not fail, and an address needs no escaping.
            SocketAddr::V6(v6) => drop(write!(self.out, "{v6}")),
        }
        self.out.push(b'"');
    }

    /// An object inside this one.
    pub(super) fn object(&mut self, key: &'static str) -> Object<'_> {
        self.key(key);
        Object::open(self.out)
    }
}

/// What formatting does, several times as fast: this is in every line.
pub(super) fn ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        digits(out, u64::from(octet), 1);
    }
}

/// A quoted, escaped string of at most [`limits::ACCESS_LOG_FIELD_BYTES_MAX`] bytes.
fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    let end = out.len() + limits::ACCESS_LOG_FIELD_BYTES_MAX;
    // Nearly every text is short and harmless: look once, copy once. Without an early end the
    // compiler looks at many bytes at a time.
    let harmless = |byte: u8| (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
    if value.len() <= limits::ACCESS_LOG_FIELD_BYTES_MAX
        && value.bytes().fold(true, |good, byte| good & harmless(byte))
    {
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
        return;
    }
    for character in value.chars() {
        let start = out.len();
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ if is_dangerous(character) => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    out.extend_from_slice(b"\\u");
                    for shift in [12, 8, 4, 0] {
                        let nibble = (*unit >> shift) & 0xf;
                        let digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0');
                        out.extend_from_slice(digit.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        if out.len() > end {
            out.truncate(start);
            out.extend_from_slice("…".as_bytes());
            break;
        }
    }
    out.push(b'"');
}

/// Control characters, line separators, and whatever is invisible or reorders text
/// (Unicode Standard Annex #9, "explicit directional formatting").
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A number with leading zeros up to `width`.
pub(super) fn digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    if value < 10 && width == 1 {
        out.push(digit(value));
        return;
    }
    // 20 digits hold every u64.
    let mut buffer = [b'0'; 20];
    let mut count = 0;
    for place in buffer.iter_mut().rev() {
        if value == 0 && count >= width {
            break;
        }
        *place = digit(value % 10);
        value /= 10;
        count += 1;
    }
    out.extend_from_slice(buffer.get(buffer.len() - count..).unwrap_or_default());
}

/// The last digit of a number below 10.
fn digit(value: u64) -> u8 {
    b'0' | value.to_le_bytes()[0] & 0xf
}

/// `2026-11-21T01:22:09.`, with the second it stands for.
type Second = (u64, [u8; 20]);

thread_local! {
    /// Thousands of lines are of the same second: its text is made once.
    static SECOND: Cell<Second> = const { Cell::new((u64::MAX, [0; 20])) };
}

/// `2026-11-21T01:22:09.`
pub(super) fn second(time: SystemTime) -> [u8; 20] {
    // Times before 1970 cannot come from a clock that is set.
    let now = clock::since_epoch(time).as_secs();
    let (second, mut text) = SECOND.get();
    if second != now {
        text = civil(now);
        SECOND.set((now, text));
    }
    text
}

fn rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    let since = clock::since_epoch(time);
    out.extend_from_slice(&second(time));
    digits(out, u64::from(since.subsec_millis()), 3);
    out.push(b'Z');
}

fn civil(seconds: u64) -> [u8; 20] {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days, by eras of 400 years that begin in March (the "civil_from_days"
    // algorithm of Howard Hinnant, public domain): leap days fall at the end of a year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = Vec::with_capacity(20);
    for (value, width, after) in [
        // A clock beyond the year 9999 is not set.
        (year.min(9_999), 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3_600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
    ] {
        digits(&mut text, value, width);
        text.push(after);
    }
    text.try_into().unwrap_or([b'0'; 20])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::UNIX_EPOCH;

    fn written(value: &str) -> String {
        let mut out = Vec::new();
        text(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn texts() {
        for (value, wanted) in [
            ("plain /path?x=1", r#""plain /path?x=1""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("a\r\nb\t", r#""a\r\nb\t""#),
            (
                "\0\u{1b}[31m\u{7f}\u{9b}",
                r#""\u0000\u001b[31m\u007f\u009b""#,
            ),
            ("\u{202e}gpj.exe\u{2066}", r#""\u202egpj.exe\u2066""#),
            ("\u{e0001}", r#""\udb40\udc01""#),
            ("zwölf ☃ 🦀", r#""zwölf ☃ 🦀""#),
            ("", r#""""#),
        ] {
            assert_eq!(written(value), wanted, "{value:?}");
        }
        for filler in ["a", "\0", "☃"] {
            let long = written(&filler.repeat(100_000));
            assert!(
                long.len() <= limits::ACCESS_LOG_FIELD_BYTES_MAX + 5,
                "{}",
                long.len()
            );
            assert!(long.ends_with("…\""));
            serde_json::from_str::<String>(&long).unwrap();
        }
    }

    #[test]
    fn numbers() {
        for value in [0, 7, 10, 1_000_000, u64::MAX] {
            let mut out = Vec::new();
            digits(&mut out, value, 1);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
        let mut out = Vec::new();
        digits(&mut out, 42, 6);
        assert_eq!(out, b"000042");
    }

    proptest! {
        #[test]
        fn every_text_reads_back(value in "\\PC{0,50}|[\\x00-\\x{ff}]{0,50}|\\p{any}{0,50}") {
            let read: String = serde_json::from_str(&written(&value)).unwrap();
            prop_assert_eq!(read, value);
        }

        #[test]
        fn every_time_is_what_the_time_crate_writes(ms in 0u64..253_402_300_800_000) {
            let time = UNIX_EPOCH + Duration::from_millis(ms);
            let mut out = Vec::new();
            rfc3339(&mut out, time);
            let format = time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
            let wanted = time::OffsetDateTime::from(time).format(format).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), wanted);
        }
    }
}
