//! Traces: whose context is continued, and where spans go.

use std::fmt;

use super::value::ValueError;

vocabulary::words! {
    /// Whose trace context is continued.
    #[derive(Default)]
    pub enum TraceContextMode("a way to trace", without serde) {
        /// Nothing is traced.
        #[default]
        Off = "off",
        /// Nobody's.
        Begin = "begin",
        /// That of clients whose certificate is verified.
        Verified = "verified",
        /// Everybody's.
        All = "all",
    }
}

/// Bytes of the URL of a collector. One that is longer is none.
const URL_BYTES_MAX: usize = 512;
/// What OTLP has for traces over HTTP.
const PATH: &str = "/v1/traces";

/// An OTLP collector, over plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpUrl {
    /// Name or address with port, as `Host` has it.
    pub authority: String,
    /// Begins with a slash.
    pub path: String,
}

impl OtlpUrl {
    /// Reads `http://HOST:PORT`, with a path or not.
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        const HELP: &str = "write it as in `http://127.0.0.1:4318`";
        let wrong = |message: &str| Err(ValueError::whole(text, message).help(HELP));
        let Some(rest) = text.strip_prefix("http://") else {
            return if text.starts_with("https://") {
                let message = "spans are sent over plain HTTP only";
                let help = "send them to a collector on this machine, which sends them on over TLS";
                Err(ValueError::whole(text, message).help(help))
            } else {
                wrong("the URL of a collector begins with `http://`")
            };
        };
        if text.len() > URL_BYTES_MAX {
            return wrong("the URL is longer than the 512 bytes that it may have");
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, PATH),
        };
        let path = if path == "/" { PATH } else { path };
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return wrong("the URL of a collector has a name or an address behind `http://`");
        }
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port != 0);
        if !is_port {
            return wrong("the URL of a collector has a port, which is 4318 for most");
        }
        let is_path = |byte: u8| byte.is_ascii_graphic() && !b"?#<>".contains(&byte);
        if !path.bytes().all(is_path) {
            return wrong("the path of a collector has letters, digits and signs only");
        }
        Ok(Self {
            authority: authority.into(),
            path: path.into(),
        })
    }
}

impl fmt::Display for OtlpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_have_urls() {
        for (text, shown) in [
            (
                "http://127.0.0.1:4318",
                Some("http://127.0.0.1:4318/v1/traces"),
            ),
            ("http://[::1]:4318/", Some("http://[::1]:4318/v1/traces")),
            (
                "http://otel.internal:80/x/y",
                Some("http://otel.internal:80/x/y"),
            ),
            ("http://otel.internal", None),
            ("http://otel.internal:0", None),
            ("http://otel.internal:+80", None),
            ("http://otel.internal:70000", None),
            ("http://:4318", None),
            ("http://user@host:4318", None),
            ("http://a b:4318", None),
            ("http://a:4318/?x", None),
            ("https://a:4318", None),
            ("a:4318", None),
            ("", None),
        ] {
            let found = OtlpUrl::parse(text).ok().map(|url| url.to_string());
            assert_eq!(found.as_deref(), shown, "{text}");
        }
        assert!(OtlpUrl::parse(&format!("http://a:1/{}", "x".repeat(600))).is_err());
    }
}
