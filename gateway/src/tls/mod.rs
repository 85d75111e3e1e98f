//! TLS: which host, which certificate, who is the client, is it to be believed.
//!
//! Never does I/O and never reads a clock: bytes and the time of judgement come from the caller.

mod trust;
mod site;
mod identity;
mod origin;

pub use identity::{ClientAuth, Reason, Verdict};
pub use origin::{OriginTls, OriginTlsError};
pub use site::{Site, SiteError, SiteSpec};
pub use trust::{Anchor, CaId, Trust, TrustError};
