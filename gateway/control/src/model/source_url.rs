//! The `http://` URLs that revocation lists and OCSP answers come from.
//!
//! Owns what such a URL may be. Only the administrator names them: no client certificate, verified
//! or not, makes the gateway send a request, and a redirect is followed to the same server only.
//! Plain HTTP is what RFC 5280 §8 and RFC 6960 §A.1 ask of CAs: what is fetched is signed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::SOURCE_URL_BYTES_MAX;

/// What a URL should have been.
const WANTED: &str = "expected `http://HOST[:PORT]/PATH`";

/// Characters of a redirect's target that an error shows.
const SHOWN_CHARS_MAX: usize = 200;

/// Why a text is no URL that is fetched from. Always the operator's to mend. Texts are escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceUrlError {
    /// Too long.
    #[error("it has more than {SOURCE_URL_BYTES_MAX} bytes")]
    TooLong,
    /// A part that is never sent to a server.
    #[error("`{0}` has a fragment; {WANTED}")]
    Fragment(String),
    /// No URL at all.
    #[error("`{text}` is not a URL ({why}); {WANTED}")]
    NotAUrl {
        /// What it is.
        text: String,
        /// Where it goes wrong.
        why: String,
    },
    /// `https://`, `ldap://`, or none.
    #[error("`{0}`: {WANTED}; lists and answers are signed and come over plain HTTP (RFC 5280 §8)")]
    Scheme(String),
    /// No host.
    #[error("`{0}` names no host; {WANTED}")]
    NoHost(String),
    /// Secrets do not belong into a URL.
    #[error("a URL with a user name or password is not taken; {WANTED}")]
    Credentials,
    /// A port that is none.
    #[error("`{0}`: the port is no number from 1 to 65535")]
    Port(String),
}

/// A redirect that is not followed, because it leads to another server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it redirects to `{location}`, which is not on the same server; \
     name the new URL if it is right"
)]
pub struct RedirectError {
    /// Where it leads: the beginning, escaped.
    pub location: String,
}

/// An `http://` URL without a user name, a password or a fragment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceUrl {
    text: String,
    host: String,
    port: u16,
}

impl SourceUrl {
    /// Reads one.
    ///
    /// # Errors
    /// See [`SourceUrlError`].
    pub fn parse(text: &str) -> Result<Self, SourceUrlError> {
        if text.len() > SOURCE_URL_BYTES_MAX {
            return Err(SourceUrlError::TooLong);
        }
        let shown = || text.escape_debug().to_string();
        if text.contains('#') {
            return Err(SourceUrlError::Fragment(shown()));
        }
        let uri: http::Uri =
            text.parse()
                .map_err(|why: http::uri::InvalidUri| SourceUrlError::NotAUrl {
                    text: shown(),
                    why: why.to_string(),
                })?;
        if uri.scheme_str() != Some("http") {
            return Err(SourceUrlError::Scheme(shown()));
        }
        let authority = uri
            .authority()
            .filter(|found| !found.host().is_empty())
            .ok_or_else(|| SourceUrlError::NoHost(shown()))?;
        if authority.as_str().contains('@') {
            return Err(SourceUrlError::Credentials);
        }
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match (authority.port_u16(), has_port) {
            (Some(0), _) | (None, true) => return Err(SourceUrlError::Port(shown())),
            (Some(port), _) => port,
            (None, false) => 80,
        };
        let host = authority.host();
        Ok(Self {
            text: text.into(),
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_ascii_lowercase(),
            port,
        })
    }

    /// The URL itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its server, for connecting: a name or an address without brackets, and the port.
    #[must_use]
    pub fn server(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// What comes after the scheme up to the path: the `Host` of a request.
    #[must_use]
    pub fn authority(&self) -> &str {
        let rest = self.text.get("http://".len()..).unwrap_or_default();
        rest.split(['/', '?']).next().unwrap_or_default()
    }

    /// What a request asks for: path and query.
    #[must_use]
    pub fn target(&self) -> String {
        let rest = self.text.get("http://".len()..).unwrap_or_default();
        let target = rest.get(self.authority().len()..).unwrap_or_default();
        if target.starts_with('/') {
            target.into()
        } else {
            format!("/{target}")
        }
    }

    /// Where a redirect leads, which is the same server: a server that answers in another's place
    /// must not be able to send us to machines that only we can reach.
    ///
    /// # Errors
    /// It leads elsewhere.
    pub fn redirected(&self, location: &str) -> Result<Self, RedirectError> {
        let path_only = location.starts_with('/') && !location.starts_with("//");
        let to = if path_only {
            Self::parse(&format!("http://{}{location}", self.authority()))
        } else {
            Self::parse(location)
        };
        let here = to.ok().filter(|to| to.server() == self.server());
        here.ok_or_else(|| RedirectError {
            location: location.escape_debug().take(SHOWN_CHARS_MAX).collect(),
        })
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl TryFrom<String> for SourceUrl {
    type Error = SourceUrlError;

    fn try_from(text: String) -> Result<Self, SourceUrlError> {
        Self::parse(&text)
    }
}

impl From<SourceUrl> for String {
    fn from(url: SourceUrl) -> Self {
        url.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, host, port, authority, target) in [
            (
                "http://crl.test/a.crl",
                "crl.test",
                80,
                "crl.test",
                "/a.crl",
            ),
            (
                "http://CRL.test:8080",
                "crl.test",
                8080,
                "CRL.test:8080",
                "/",
            ),
            ("http://crl.test?ca=1", "crl.test", 80, "crl.test", "/?ca=1"),
            ("http://[::1]:81/x?y", "::1", 81, "[::1]:81", "/x?y"),
            ("http://[::1]/", "::1", 80, "[::1]", "/"),
        ] {
            let url = SourceUrl::parse(text).unwrap();
            assert_eq!(url.server(), (host, port), "{text}");
            assert_eq!(url.authority(), authority, "{text}");
            assert_eq!(url.target(), target, "{text}");
        }
        for text in [
            "",
            "/a.crl",
            "crl.test/a.crl",
            "https://crl.test/a.crl",
            "ldap://crl.test/cn=ca",
            "file:///etc/passwd",
            "http://",
            "http:///a",
            "http://user@crl.test/",
            "http://u:p@crl.test/",
            "http://crl.test:0/",
            "http://crl.test:/",
            "http://crl.test:99999/",
            "http://crl.test/#a",
            "http://crl.test/\r\nX: y",
        ] {
            assert!(SourceUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn redirects_stay_with_the_server() {
        let url = SourceUrl::parse("http://crl.test:8080/a").unwrap();
        for (location, expected) in [
            ("/b", Some("http://crl.test:8080/b")),
            ("http://CRL.test:8080/b", Some("http://CRL.test:8080/b")),
            ("http://crl.test/b", None),
            ("https://crl.test:8080/b", None),
            ("//other.test/b", None),
            ("http://169.254.169.254/latest", None),
            ("b", None),
            ("file:///etc/passwd", None),
        ] {
            let found = url.redirected(location);
            assert_eq!(
                found.ok().as_ref().map(SourceUrl::as_str),
                expected,
                "{location}"
            );
        }
    }
}
