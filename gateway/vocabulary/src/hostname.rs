//! Host names as they are written in configuration, SNI and authority, in one canonical form.
//!
//! Owns the canonical form (RFC 1034 §3.5 letters, digits, hyphens, plus the underscore that
//! real deployments use) and wildcard matching (RFC 6125 §6.4.3: the left-most label only).
//! Does not resolve names.

use std::fmt;

use crate::punycode;

/// Longest host name in bytes, without the trailing dot (RFC 1035 §2.3.4).
pub const NAME_BYTES_MAX: usize = 253;
/// Longest label in bytes (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// A canonical host name: lower case, no trailing dot, never an IP literal.
///
/// Either exact (`api.example.com`) or a wildcard (`*.example.com`), which stands for exactly
/// one more label.
///
/// ```
/// use vocabulary::hostname::HostName;
///
/// let exact = HostName::parse("API.example.com.")?;
/// assert_eq!(exact.as_str(), "api.example.com");
///
/// let wildcard = HostName::parse("*.example.com")?;
/// assert!(wildcard.covers("api.example.com"));
/// assert!(!wildcard.covers("a.b.example.com"));
/// assert!(HostName::parse("192.0.2.1").is_err());
/// # Ok::<(), vocabulary::hostname::HostNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Box<str>);

/// Why a text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// Nothing was given.
    #[error("a host name cannot be empty")]
    Empty,
    /// A label is empty: two dots in a row, or one at the front.
    #[error("the host name `{0}` has an empty label")]
    EmptyLabel(String),
    /// An address, which no SNI can carry (RFC 6066 §3).
    #[error("`{0}` is an IP address; a host is known by its name (RFC 6066 §3)")]
    IpLiteral(String),
    /// A character that no host name has.
    #[error(
        "the host name `{name}` has the character {character:?}, allowed are letters, digits, `-`, `_` and `.`{}",
        ascii(name)
    )]
    Character {
        /// The whole text.
        name: String,
        /// The first character that does not belong.
        character: char,
    },
    /// Longer than [`NAME_BYTES_MAX`], or a label longer than [`LABEL_BYTES_MAX`].
    #[error(
        "the host name `{0}` is too long: {NAME_BYTES_MAX} bytes in all and {LABEL_BYTES_MAX} a label are allowed"
    )]
    TooLong(String),
    /// `*` somewhere other than as the whole left-most label, or above too few labels.
    #[error(
        "the wildcard in `{0}` must be the whole first label with at least two labels after it, as in `*.example.com`"
    )]
    Wildcard(String),
}

/// What an internationalised name is written as.
fn ascii(name: &str) -> String {
    let ascii = Some(name).filter(|name| !name.is_ascii());
    let ascii = ascii.and_then(punycode::ascii_form);
    ascii.map_or_else(String::new, |ascii| {
        format!("; in certificates and DNS it is written `{ascii}`")
    })
}

impl HostName {
    /// Reads a host name, exact or wildcard, and puts it into canonical form.
    ///
    /// # Errors
    /// See [`HostNameError`].
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() {
            return Err(HostNameError::Empty);
        }
        if name.len() > NAME_BYTES_MAX || name.split('.').any(|label| label.len() > LABEL_BYTES_MAX)
        {
            return Err(HostNameError::TooLong(text.into()));
        }
        if name
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok()
        {
            return Err(HostNameError::IpLiteral(text.into()));
        }
        let exact = match name.strip_prefix("*.") {
            Some(rest) if rest.contains('.') => rest,
            Some(_) => return Err(HostNameError::Wildcard(text.into())),
            None => &name,
        };
        if exact.contains('*') {
            return Err(HostNameError::Wildcard(text.into()));
        }
        if exact.split('.').any(str::is_empty) {
            return Err(HostNameError::EmptyLabel(text.into()));
        }
        let stranger = exact
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
        if let Some(character) = stranger {
            return Err(HostNameError::Character {
                name: text.into(),
                character,
            });
        }
        Ok(Self(name.into()))
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `*.` and something.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// The name that a wildcard covers below: `example.com` for `*.example.com`.
    #[must_use]
    pub fn wildcard_parent(&self) -> Option<&str> {
        self.0.strip_prefix("*.")
    }

    /// Whether this name, exact or wildcard, covers the canonical exact name `other`.
    #[must_use]
    pub fn covers(&self, other: &str) -> bool {
        match self.wildcard_parent() {
            Some(parent) => other
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => &*self.0 == other,
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl serde::Serialize for HostName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for HostName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, canonical) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.COM.", "api.example.com"),
            ("*.Example.com", "*.example.com"),
            ("localhost", "localhost"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(HostName::parse(text).unwrap().as_str(), canonical, "{text}");
        }
    }

    #[test]
    fn refused() {
        let long = "a.".repeat(127) + "b";
        let label = "a".repeat(64);
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "*",
            "*.com",
            "a.*.b",
            "*a.example.com",
            "*.*.example.com",
            "127.0.0.1",
            "::1",
            "[::1]",
            "a b",
            "a/b",
            "a:443",
            "bücher.example",
            "a\0b",
            &long,
            &label,
        ] {
            assert!(HostName::parse(text).is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn a_wildcard_covers_exactly_one_label() {
        let wildcard = HostName::parse("*.example.com").unwrap();
        assert!(wildcard.covers("a.example.com"));
        assert!(!wildcard.covers("example.com"));
        assert!(!wildcard.covers("a.b.example.com"));
        assert!(!wildcard.covers(".example.com"));
        assert!(
            HostName::parse("a.example.com")
                .unwrap()
                .covers("a.example.com")
        );
    }
}
