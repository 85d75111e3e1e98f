//! Why a connection or a request of a client came to nothing, in words that tests compare.

use std::net::SocketAddr;

/// A connection or request that came to nothing.
#[derive(Debug)]
pub struct Refused {
    /// The alert in lower case (`unknown_ca`), `closed`, or what else happened.
    pub why: String,
    /// The address that the client spoke from.
    pub local: SocketAddr,
}

/// What an error says, and what it says of its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(" / {error} {error:?}"));
        source = error.source();
    }
    text
}

/// What became of an attempt to connect to a process that ends or begins meanwhile: before it listens, or when it
/// ended with the connection in its queue. `None` for what no test brings about.
pub(crate) fn no_connection(kind: std::io::ErrorKind) -> Option<&'static str> {
    match kind {
        std::io::ErrorKind::ConnectionRefused => Some("nobody listens"),
        std::io::ErrorKind::ConnectionReset => Some("closed"),
        _ => None,
    }
}

/// The name of the alert in BoringSSL's words, or the words.
pub(crate) fn why(text: &str) -> String {
    for prefix in ["SSLV3_ALERT_", "TLSV1_ALERT_"] {
        if let Some((_, rest)) = text.split_once(prefix) {
            let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            return rest[..end.unwrap_or(rest.len())].to_lowercase();
        }
    }
    // An alert whose name this BoringSSL does not know.
    if let Some((_, rest)) = text.split_once("reason_code: 1") {
        return format!("alert {}", rest.get(..3).unwrap_or_default());
    }
    let closed = [
        "IncompleteMessage",
        "UnexpectedEof",
        "ConnectionReset",
        "ChannelClosed",
        "Canceled",
        "BrokenPipe",
    ];
    if closed.iter().any(|word| text.contains(word)) {
        "closed".into()
    } else {
        text.into()
    }
}
