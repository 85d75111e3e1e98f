//! TLS: which host, which certificate, who is the client, is it to be believed.
//!
//! Bytes go in and out through [`Wire`], the time of judgement is an argument: this room never
//! does I/O and never reads a clock, so all of it can be tested and fuzzed without a socket.
//!
//! | file | owns |
//! |---|---|
//! | `site` | one host's context: certificate, key, protocol settings |
//! | `handshake` | the ClientHello callback that gives a connection its host, and the handshake |
//! | `session` | an established connection: plaintext on one side, [`Wire`] on the other |
//! | `trust`, `verify` | CA sets, and the judge |
//! | `verdict`, `identity` | what was found, and the client as rules and logs see it |
//! | `origin` | TLS towards origins |

mod handshake;
mod identity;
mod origin;
mod session;
mod site;
mod trust;
mod verdict;
mod verify;
mod wire;

#[cfg(test)]
mod tests;

pub use handshake::{AcceptSettings, Acceptor, Established, HandshakeError, Refusal};
pub use identity::ClientAuth;
pub use origin::{Alpn, OriginTls, OriginTlsError};
pub use session::Session;
pub use site::{Site, SiteError, SiteSpec};
pub use trust::{Anchor, CaId, Trust, TrustError};
pub use verdict::{Reason, Verdict};
pub use verify::{Judgement, judge};
pub use wire::Wire;
