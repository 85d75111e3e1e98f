//! The one normalised path: rules match it, and the same bytes are forwarded.
//!
//! Normalisation is RFC 3986 §6.2.2 (decode what needs no encoding, upper-case the rest, remove
//! dot segments) plus merging slashes and encoding what RFC 3986 does not let stand for itself
//! (`{`, `<`, `"` …), so that no two spellings of a path are told apart by the rules and taken for
//! the same by the origin. What could still be read in two ways is
//! refused: NUL, encoded slashes and backslashes, backslashes, broken escapes, and segments that
//! are empty, `.` or `..` before their parameters (`/x/..;/admin` is `/admin` to an origin that
//! cuts parameters off). Other path parameters (`/admin;x`) are kept, because rules see them: for
//! an origin that ignores them, match with `starts_with`. Case is kept too.

use std::borrow::Cow;

use http::Uri;
use http::uri::PathAndQuery;

/// Why a path is refused. All of them are answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `%` without two hex digits.
    #[error("the path has a broken percent escape")]
    BrokenEscape,
    /// `%00`.
    #[error("the path has an encoded NUL")]
    Nul,
    /// `%2F`, `%5C` or `\`: slashes to some origins and letters to others.
    #[error("the path has an encoded slash or a backslash")]
    Slash,
    /// `/..;x/`, `/;x`: a step that only origins make that cut the parameters off.
    #[error("a segment of the path is empty, `.` or `..` before its parameters")]
    Parameters,
    /// It does not start with a slash.
    #[error("the path does not start with a slash")]
    Relative,
    /// Encoding what has to be encoded made it longer than a target can be.
    #[error("the path is too long once it is normalised")]
    TooLong,
}

/// Normalises a path as it stands in the request target, without the query.
///
/// # Errors
/// See [`PathError`].
pub fn normalise(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if raw == "*" {
        return Ok(Cow::Borrowed(raw));
    }
    if !raw.starts_with('/') {
        return Err(PathError::Relative);
    }
    if is_normal(raw) {
        return Ok(Cow::Borrowed(raw));
    }
    let decoded = decode(raw)?;
    if decoded.split('/').any(is_bare_with_parameters) {
        return Err(PathError::Parameters);
    }
    Ok(Cow::Owned(remove_dot_segments(&decoded)))
}

/// The target that the origin gets: the very path that the rules have seen, and the query as it was
/// sent.
///
/// # Errors
/// [`PathError::TooLong`].
pub fn target(path: &str, asked: &Uri) -> Result<PathAndQuery, PathError> {
    // An absolute form may lack the path, and `same` says nothing then, or begins with `?`.
    let is_whole = |same: &&PathAndQuery| same.as_str().len() > 1 && same.as_str().starts_with('/');
    let made = match (asked.path_and_query().filter(is_whole), asked.query()) {
        // Normalisation changed nothing.
        (Some(same), _) if asked.path() == path => return Ok(same.clone()),
        (_, None) if path == "/" => return Ok(PathAndQuery::from_static("/")),
        (_, Some(query)) => PathAndQuery::try_from(format!("{path}?{query}")),
        (_, None) => PathAndQuery::try_from(path),
    };
    // What is normalised has no other fault.
    made.map_err(|_too_long| PathError::TooLong)
}

/// Whether normalisation would change nothing, as for nearly every request.
fn is_normal(raw: &str) -> bool {
    let mut before = 0;
    raw.bytes().all(|byte| {
        let plain = match byte {
            b'%' | b'\\' | 0x80.. => false,
            byte if is_to_be_encoded(byte) => false,
            b'/' | b'.' | b';' => before != b'/',
            _ => true,
        };
        before = byte;
        plain
    })
}

/// Whether a decoded segment is none, or a dot segment, once its parameters are cut off. Some
/// origins cut first and decode then, others the other way round: `%3B` begins parameters, too.
fn is_bare_with_parameters(segment: &str) -> bool {
    let cut = segment.split(';').next().unwrap_or_default();
    let cut = cut.split("%3B").next().unwrap_or_default();
    cut.len() < segment.len() && matches!(cut, "" | "." | "..")
}

fn decode(raw: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let (value, escaped) = match byte {
            b'\\' => return Err(PathError::Slash),
            b'%' => {
                let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(PathError::BrokenEscape);
                };
                (u8::try_from(high * 16 + low).unwrap_or_default(), true)
            }
            other => (other, !other.is_ascii()),
        };
        match value {
            0 => return Err(PathError::Nul),
            b'/' | b'\\' if escaped => return Err(PathError::Slash),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(value));
            }
            _ if escaped || is_to_be_encoded(value) => encode(value, &mut out),
            _ => out.push(char::from(value)),
        }
    }
    Ok(out)
}

/// Whether a byte of ASCII may stand in a path in its encoding only (RFC 3986 §3.3), and means nothing
/// else there.
fn is_to_be_encoded(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn encode(byte: u8, out: &mut String) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    out.push('%');
    out.extend(HEX.get(usize::from(byte >> 4)));
    out.extend(HEX.get(usize::from(byte & 15)));
}

/// A request target with those characters encoded that no [`Uri`] holds, though they could be read in
/// one way only: clients send `/x?q={"a":1}`, and nginx takes it. Whatever else is wrong with a target
/// stays in it.
#[must_use]
pub fn encode_target(target: &str) -> Cow<'_, str> {
    let in_query = |byte| matches!(byte, b'"' | b'<' | b'>');
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    if !path.bytes().any(is_to_be_encoded) && !query.bytes().any(in_query) {
        return Cow::Borrowed(target);
    }
    let mut out = String::with_capacity(target.len() + 32);
    let mut write = |text: &str, to_be_encoded: fn(u8) -> bool| {
        for char in text.chars() {
            match u8::try_from(char) {
                Ok(byte) if to_be_encoded(byte) => encode(byte, &mut out),
                _ => out.push(char),
            }
        }
    };
    write(path, is_to_be_encoded);
    write(query, in_query);
    Cow::Owned(out)
}

/// RFC 3986 §5.2.4, with empty segments merged. A path cannot climb above the root.
fn remove_dot_segments(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_in_slash = false;
    for segment in path.split('/') {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if ends_in_slash || segments.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_path() {
        for (raw, normal) in [
            ("/", "/"),
            ("/admin", "/admin"),
            ("/admin/", "/admin/"),
            ("//admin", "/admin"),
            ("/./admin", "/admin"),
            ("/x/../admin", "/admin"),
            ("/x/%2e%2E/admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/%41dmin", "/Admin"),
            ("/admin/.", "/admin/"),
            ("/admin/x/..", "/admin/"),
            ("/../../admin", "/admin"),
            ("/..", "/"),
            ("/a//b///c", "/a/b/c"),
            ("/a/%252e%252e/b", "/a/%252e%252e/b"),
            ("/a%3fb", "/a%3Fb"),
            ("/a%23b", "/a%23b"),
            ("/{a}", "/%7Ba%7D"),
            ("/%7ba%7D", "/%7Ba%7D"),
            ("/<\"`^|>", "/%3C%22%60%5E%7C%3E"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a;b=c", "/a;b=c"),
            ("/a;b/../c", "/c"),
            ("/a;/b", "/a;/b"),
            ("/...;x", "/...;x"),
            ("/.a;x", "/.a;x"),
            ("/a%3bb", "/a%3Bb"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a..b/...", "/a..b/..."),
            ("*", "*"),
        ] {
            assert_eq!(normalise(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn targets_that_clients_send_though_they_may_not() {
        for (target, encoded) in [
            ("/a?b=c", "/a?b=c"),
            ("/x?q={\"a\":1}", "/x?q={%22a%22:1}"),
            ("/x?q=<b>&`^|", "/x?q=%3Cb%3E&`^|"),
            ("/{x}|<y>?{", "/%7Bx%7D%7C%3Cy%3E?{"),
            ("/caf\u{e9}`?\u{e9}\"", "/caf\u{e9}%60?\u{e9}%22"),
            ("", ""),
            ("?<", "?%3C"),
            ("/a b\\%", "/a b\\%"),
        ] {
            assert_eq!(encode_target(target), encoded, "{target}");
        }
        // All that is printable makes a URI then.
        for byte in b'!'..=b'~' {
            let target = format!("/{0}?{0}", char::from(byte));
            let made = PathAndQuery::try_from(&*encode_target(&target));
            assert!(made.is_ok(), "{target}: {made:?}");
        }
    }

    #[test]
    fn refused() {
        for (raw, error) in [
            ("/a%00", PathError::Nul),
            ("/a%2fb", PathError::Slash),
            ("/a%2Fb", PathError::Slash),
            ("/a%5cb", PathError::Slash),
            ("/a\\b", PathError::Slash),
            ("/;/admin", PathError::Parameters),
            ("/;", PathError::Parameters),
            ("/a/;x=1", PathError::Parameters),
            ("/.;/admin", PathError::Parameters),
            ("/x/..;/admin", PathError::Parameters),
            ("/x/..;a=b;c/admin", PathError::Parameters),
            ("/x/..;", PathError::Parameters),
            ("/x/%2e%2e;/admin", PathError::Parameters),
            ("/x/.%2E;/admin", PathError::Parameters),
            ("/x/..%3b/admin", PathError::Parameters),
            ("/%3B/admin", PathError::Parameters),
            ("/x/%2e%3b%2e/admin", PathError::Parameters),
            ("/x/..;/..", PathError::Parameters),
            ("/a%", PathError::BrokenEscape),
            ("/a%2", PathError::BrokenEscape),
            ("/a%zz", PathError::BrokenEscape),
            ("", PathError::Relative),
            ("admin", PathError::Relative),
            ("**", PathError::Relative),
        ] {
            assert_eq!(normalise(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn the_origin_gets_the_path_that_was_matched() {
        let cases = [
            ("/a/b", "/a/b"),
            ("/a?", "/a?"),
            ("/a?q=%2e", "/a?q=%2e"),
            ("/", "/"),
            ("/?q", "/?q"),
            ("/a/../b?q=1", "/b?q=1"),
            ("/%61", "/a"),
            ("https://h.test", "/"),
            ("https://h.test?q=1", "/?q=1"),
            ("https://h.test/a//b", "/a/b"),
            ("https://h.test/a?q", "/a?q"),
            ("*", "*"),
        ];
        for (asked, wanted) in cases {
            let asked: Uri = asked.parse().unwrap();
            let path = normalise(asked.path()).unwrap();
            let target = target(&path, &asked).unwrap();
            assert_eq!(target.to_string(), wanted, "{asked}");
        }
    }

    #[test]
    fn a_path_can_become_too_long_for_a_target() {
        let asked: Uri = format!("/{}?q", "\u{e9}".repeat(11_000)).parse().unwrap();
        let path = normalise(asked.path()).unwrap();
        assert_eq!(target(&path, &asked), Err(PathError::TooLong));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(raw in "/[a-zA-Z0-9./%;é~-]{0,40}") {
            if let Ok(once) = normalise(&raw) {
                let twice = normalise(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
                prop_assert!(once.starts_with('/') && !once.contains("//") && once.is_ascii());
                prop_assert!(!once.split('/').any(|s| s == "." || s == ".."));
                let upper = once.to_ascii_uppercase().replace("%3B", ";");
                let cut = |s: &str| s.split(';').next().unwrap_or_default().to_owned();
                let bare = |s: &str| s.contains(';') && matches!(&*cut(s), "" | "." | "..");
                prop_assert!(!upper.split('/').any(bare), "{}", once);
            }
        }
    }
}
