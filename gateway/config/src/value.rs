//! Parses and prints values.
//!
//! Owns the notations: durations `5s`, sizes `64k`, switches, words, addresses, paths,
//! interfaces. Does not know which key a value belongs to; ranges come from the table of keys.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::SteerInterfaces;
use crate::limits;
use vocabulary::suggest::suggest;

/// Why a text is not a value of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValueError {
    /// Which bytes of the value are meant.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl ValueError {
    /// What is wrong and what to write instead, in one line.
    fn in_a_line(self) -> String {
        let help = self.help.map(|help| format!("; {help}"));
        format!("{}{}", self.message, help.unwrap_or_default())
    }

    /// An error that means all of `text`.
    pub(super) fn whole(text: &str, message: impl Into<String>) -> Self {
        Self {
            at: 0..text.len(),
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// `5s`, `500ms`, `1m30s`. A bare number is refused: its unit is not to be seen.
pub(super) fn duration(text: &str, min: Duration, max: Duration) -> Result<Duration, ValueError> {
    const HELP: &str = "write a number with its unit, as in `500ms`, `5s`, `2m`, `1h` or `1m30s`";
    let wrong = |message: String| ValueError::whole(text, message).help(HELP);
    if text.is_empty() {
        return Err(wrong("a duration is missing".into()));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(
            ValueError::whole(text, format!("`{text}` has no unit")).help(format!(
                "write `{text}s` for seconds or `{text}ms` for milliseconds"
            )),
        );
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let scale = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, scale)| *scale);
        let part = number
            .parse::<u64>()
            .ok()
            .zip(scale)
            .and_then(|(number, scale)| number.checked_mul(scale));
        total = match part.and_then(|part| total.checked_add(part)) {
            Some(total) => total,
            None => return Err(wrong(format!("`{text}` is not a duration"))),
        };
        rest = after;
    }
    let value = Duration::from_millis(total);
    if value < min || value > max {
        let (min, max) = (show_duration(min), show_duration(max));
        return Err(ValueError::whole(text, format!("`{text}` is out of range"))
            .help(format!("allowed are {min} to {max}")));
    }
    Ok(value)
}

/// One number in the largest unit that divides it: it reads back as the same.
pub(super) fn show_duration(value: Duration) -> String {
    let ms = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    UNITS
        .iter()
        .find(|(_, scale)| ms > 0 && ms.is_multiple_of(*scale))
        .map_or_else(
            || "0s".into(),
            |(unit, scale)| format!("{}{unit}", ms / scale),
        )
}

/// A whole number; `_` may group digits.
pub(super) fn count(text: &str, min: u64, max: u64) -> Result<u64, ValueError> {
    let help = format!("write a whole number from {min} to {max}");
    let digits = text.replace('_', "");
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u64>() {
        Ok(value) if number && (min..=max).contains(&value) => Ok(value),
        _ if number => Err(ValueError::whole(text, format!("`{text}` is out of range")).help(help)),
        _ => Err(ValueError::whole(text, format!("`{text}` is not a whole number")).help(help)),
    }
}

const SIZES: [(char, u64); 3] = [('g', 1 << 30), ('m', 1 << 20), ('k', 1 << 10)];

/// Bytes, with `k`, `m` or `g` for 1024 and its powers.
pub(super) fn size(text: &str, min: u64, max: u64) -> Result<u64, ValueError> {
    let help = format!(
        "write bytes as in `65536` or `64k`; allowed are {} to {}",
        show_size(min),
        show_size(max)
    );
    let lower = text.to_ascii_lowercase();
    let bare = lower
        .strip_suffix("ib")
        .or_else(|| lower.strip_suffix('b'))
        .unwrap_or(&lower);
    let (digits, scale) = SIZES
        .iter()
        .find_map(|(letter, scale)| bare.strip_suffix(*letter).map(|digits| (digits, *scale)))
        .unwrap_or((bare, 1));
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
    {
        Some(value) if number && (min..=max).contains(&value) => Ok(value),
        _ if number => Err(ValueError::whole(text, format!("`{text}` is out of range")).help(help)),
        _ => Err(ValueError::whole(text, format!("`{text}` is not a size")).help(help)),
    }
}

/// A size as configuration files write it, up to `max` bytes: `65536`, `64k`, `1g`.
///
/// # Errors
/// It is none, or larger; what to write instead.
pub fn bytes(text: &str, max: u64) -> Result<u64, String> {
    size(text, 0, max).map_err(ValueError::in_a_line)
}

/// A time as configuration files write it: `5s`, `500ms`, `1m30s`.
///
/// # Errors
/// It is none, or not between these; what to write instead.
pub fn time(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    duration(text, min, max).map_err(ValueError::in_a_line)
}

/// The shortest notation that reads back as the same.
pub(super) fn show_size(value: u64) -> String {
    SIZES
        .iter()
        .find(|(_, scale)| value > 0 && value.is_multiple_of(*scale))
        .map_or_else(
            || value.to_string(),
            |(letter, scale)| format!("{}{letter}", value / scale),
        )
}

/// `on` or `off`, in any of the ways people write that.
pub(super) fn switch(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" | "1" => Ok(true),
        "off" | "no" | "false" | "0" => Ok(false),
        _ => Err(
            ValueError::whole(text, format!("`{text}` is neither on nor off"))
                .help("write `on` or `off`"),
        ),
    }
}

/// `on` or `off`.
pub(super) fn show_switch(value: bool) -> String {
    if value { "on".into() } else { "off".into() }
}

/// One of several words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, ValueError> {
    let same = |word: &str| word.eq_ignore_ascii_case(text);
    if let Some((_, value)) = words.iter().find(|(word, _)| same(word)) {
        return Ok(*value);
    }
    let all = words
        .iter()
        .map(|(word, _)| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let error = ValueError::whole(text, format!("`{text}` is not one of {all}"));
    Err(match suggest(text, words.iter().map(|(word, _)| *word)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    })
}

/// Several of some words, each once, with commas, colons or blanks between them.
pub(super) fn words<T: Copy + PartialEq>(
    text: &str,
    known: &[(&str, T)],
) -> Result<Vec<T>, ValueError> {
    let mut found = Vec::new();
    for (at, piece) in pieces_between(text, |c| c == ',' || c == ':' || c.is_whitespace()) {
        let here = |error: ValueError| ValueError {
            at: at.clone(),
            ..error
        };
        let value = word(piece, known).map_err(here)?;
        if found.contains(&value) {
            return Err(here(ValueError::whole(
                piece,
                format!("`{piece}` is there twice"),
            )));
        }
        found.push(value);
    }
    if found.is_empty() {
        let first = known.first().map_or("", |(word, _)| word);
        let help = format!("write one or more of the words, as in `{first}`");
        return Err(ValueError::whole(text, "a word is missing").help(help));
    }
    Ok(found)
}

/// The words of values.
pub(super) fn show_words<T: PartialEq>(values: &[T], known: &[(&str, T)]) -> String {
    let words: Vec<String> = values.iter().map(|value| show_word(value, known)).collect();
    words.join(", ")
}

/// The word of a value.
pub(super) fn show_word<T: PartialEq>(value: &T, words: &[(&str, T)]) -> String {
    words
        .iter()
        .find(|(_, one)| one == value)
        .map_or_else(String::new, |(word, _)| (*word).into())
}

/// The pieces of a list, separated by commas and blanks, with where they are.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    pieces_between(text, |c| c == ',' || c.is_whitespace())
}

fn pieces_between(
    text: &str,
    is_separator: impl Fn(char) -> bool,
) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut at = 0;
    text.split(is_separator).filter_map(move |piece| {
        // A separator is not always one byte: the piece itself says where it is.
        let start = text
            .get(at..)
            .and_then(|rest| rest.find(piece))
            .map_or(at, |offset| at + offset);
        at = start + piece.len();
        (!piece.is_empty()).then_some((start..start + piece.len(), piece))
    })
}

/// Socket addresses: `127.0.0.1:8443`, `[::1]:8443`, and `*:8443` for every address of both
/// families.
pub(super) fn addresses(text: &str) -> Result<Vec<SocketAddr>, ValueError> {
    let mut all = Vec::new();
    for (at, piece) in pieces(text) {
        let port = piece
            .strip_prefix("*:")
            .and_then(|port| port.parse::<u16>().ok());
        if let Some(port) = port {
            all.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
            all.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        } else {
            all.push(address(piece).map_err(|error| ValueError { at, ..error })?);
        }
    }
    if all.is_empty() {
        return Err(ValueError::whole(text, "an address is missing")
            .help("write one as in `*:443` or `127.0.0.1:8443`"));
    }
    Ok(all)
}

/// Addresses that are listened on, behind those that are there already.
pub(super) fn add_addresses(text: &str, all: &mut Vec<SocketAddr>) -> Result<(), ValueError> {
    for address in addresses(text)? {
        if all.contains(&address) {
            return Err(ValueError::whole(
                text,
                format!("`{address}` is there twice"),
            ));
        }
        all.push(address);
    }
    if all.len() > limits::LISTEN_ADDRESSES_MAX {
        let most = limits::LISTEN_ADDRESSES_MAX;
        return Err(ValueError::whole(
            text,
            format!("more than {most} addresses"),
        ));
    }
    Ok(())
}

/// One socket address.
pub(super) fn address(text: &str) -> Result<SocketAddr, ValueError> {
    text.parse().map_err(|_unspecific| {
        let error = ValueError::whole(text, format!("`{text}` is not an address with a port"));
        let bare: Result<std::net::IpAddr, _> = text.trim_matches(['[', ']']).parse();
        match (bare, text.strip_prefix(':').unwrap_or(text).parse::<u16>()) {
            (Ok(ip), _) => error.help(format!("add the port: `{}`", SocketAddr::new(ip, 443))),
            (_, Ok(port)) => error.help(format!(
                "for every address of this machine write `*:{port}`"
            )),
            _ => {
                error.help("write an IP address and a port, as in `127.0.0.1:8443` or `[::1]:8443`")
            }
        }
    })
}

/// Addresses as a list.
pub(super) fn show_addresses(all: &[SocketAddr]) -> String {
    all.iter()
        .map(SocketAddr::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// An absolute path, or one below the directory that the gateway was started in.
pub(super) fn path(text: &str) -> Result<PathBuf, ValueError> {
    if text.is_empty() {
        return Err(ValueError::whole(text, "a path is missing"));
    }
    if text.contains('\0') {
        return Err(ValueError::whole(
            text,
            "a path cannot hold a NUL character",
        ));
    }
    Ok(PathBuf::from(text))
}

/// An `https://` URL with a host, without a user and without a fragment.
pub(super) fn https_url(text: &str) -> Result<String, ValueError> {
    let help = "write it as in `https://acme.example.com/directory`";
    let refused = |why: &str| Err(ValueError::whole(text, format!("`{text}` {why}")).help(help));
    let Some(rest) = text.strip_prefix("https://") else {
        return refused("does not begin with `https://`");
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.is_empty() || authority.starts_with(':') {
        return refused("names no server");
    }
    let is_foreign = |one: char| !one.is_ascii_graphic() || matches!(one, '#' | '"' | '<' | '>');
    if text.len() > limits::URL_BYTES_MAX || text.contains(is_foreign) || authority.contains('@') {
        return refused("is not the URL of a directory");
    }
    Ok(text.to_owned())
}

/// A mail address, as far as it matters: who gets it decides.
pub(super) fn mail(text: &str) -> Result<String, ValueError> {
    let parts = text.split_once('@');
    let is_foreign = |one: char| !one.is_ascii_graphic() || matches!(one, ',' | '?' | '<' | '>');
    let good = parts.is_some_and(|(user, server)| {
        !user.is_empty() && !server.is_empty() && !server.contains('@')
    });
    if !good || text.len() > limits::URL_BYTES_MAX || text.contains(is_foreign) {
        let help = "write one, as in `ops@example.com`";
        return Err(ValueError::whole(text, format!("`{text}` is not a mail address")).help(help));
    }
    Ok(text.to_owned())
}

/// Visible ASCII without a blank.
pub(super) fn plain_word(text: &str) -> Result<String, ValueError> {
    let good = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !good || text.len() > limits::URL_BYTES_MAX {
        return Err(ValueError::whole(
            text,
            format!("`{text}` is not one word of visible ASCII"),
        ));
    }
    Ok(text.to_owned())
}

/// Names as the kernel allows them (`dev_valid_name`): 15 bytes, no slash, no blank.
pub(super) fn interfaces(text: &str) -> Result<SteerInterfaces, ValueError> {
    if text == "auto" {
        return Ok(SteerInterfaces::Auto);
    }
    let mut names: Vec<String> = Vec::new();
    for name in text
        .split([',', ' '])
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let valid = name.len() <= 15
            && !matches!(name, "." | "..")
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
        if !valid {
            let message = format!("`{name}` is no name of a network interface");
            return Err(ValueError::whole(text, message).help("`ip link` lists those there are"));
        }
        if names.iter().any(|other| other == name) {
            return Err(ValueError::whole(text, format!("`{name}` is there twice")));
        }
        names.push(name.into());
    }
    if names.is_empty() || names.len() > limits::STEER_INTERFACES_MAX {
        let most = limits::STEER_INTERFACES_MAX;
        return Err(
            ValueError::whole(text, format!("from 1 to {most} interfaces are expected"))
                .help("write `auto` for those that have the addresses that are listened on"),
        );
    }
    Ok(SteerInterfaces::Named(names))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn durations() {
        for (text, wanted) in [
            ("5s", Some(5_000)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("1d", Some(86_400_000)),
            ("0s", Some(0)),
            ("25h", None),
            ("5", None),
            ("", None),
            ("s", None),
            ("5 s", None),
            ("5S", None),
            ("-5s", None),
            ("5s5", None),
            ("99999999999999999999s", None),
            ("9999999999999999999d", None),
            ("5µs", None),
        ] {
            let found = duration(text, Duration::ZERO, DAY)
                .ok()
                .map(|value| value.as_millis());
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn sizes_and_counts() {
        for (text, wanted) in [
            ("64k", Some(65_536)),
            ("64K", Some(65_536)),
            ("64KiB", Some(65_536)),
            ("64kb", Some(65_536)),
            ("1m", Some(1 << 20)),
            ("100", Some(100)),
            ("100b", Some(100)),
            ("2g", None),
            ("k", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5k", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(size(text, 1, 1 << 30).ok(), wanted, "{text}");
        }
        for (text, wanted) in [
            ("1_000", Some(1_000)),
            ("7", Some(7)),
            ("0", None),
            ("x", None),
            ("+7", None),
            ("_", None),
        ] {
            assert_eq!(count(text, 1, 10_000).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn listen_addresses() {
        for (text, wanted) in [
            ("127.0.0.1:1", Some("127.0.0.1:1")),
            ("127.0.0.1:1,[::1]:2", Some("127.0.0.1:1, [::1]:2")),
            ("127.0.0.1:1 ,  [::1]:2", Some("127.0.0.1:1, [::1]:2")),
            ("*:443", Some("0.0.0.0:443, [::]:443")),
            ("", None),
            ("443", None),
            ("localhost:443", None),
            ("127.0.0.1:70000", None),
        ] {
            assert_eq!(
                addresses(text)
                    .ok()
                    .as_deref()
                    .map(show_addresses)
                    .as_deref(),
                wanted,
                "{text}"
            );
        }
        let error = addresses("127.0.0.1:1, ::1").unwrap_err();
        assert_eq!(error.at, 13..16);
        assert_eq!(error.help.as_deref(), Some("add the port: `[::1]:443`"));
        assert_eq!(
            address(":443").unwrap_err().help.as_deref(),
            Some("for every address of this machine write `*:443`")
        );
    }

    proptest! {
        #[test]
        fn durations_are_written_as_they_are_read(ms in 0u64..86_400_000) {
            let value = Duration::from_millis(ms);
            prop_assert_eq!(duration(&show_duration(value), Duration::ZERO, DAY), Ok(value));
        }

        #[test]
        fn sizes_are_written_as_they_are_read(value in 0u64..1 << 40) {
            prop_assert_eq!(size(&show_size(value), 0, u64::MAX), Ok(value));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,40}") {
            drop(duration(&text, Duration::ZERO, DAY));
            drop(size(&text, 0, u64::MAX));
            drop(count(&text, 0, u64::MAX));
            for error in [addresses(&text).err(), switch(&text).err(), path(&text).err()].into_iter().flatten() {
                prop_assert!(text.get(error.at).is_some());
            }
        }
    }
}
