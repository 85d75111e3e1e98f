//! A client certificate's status. The certificates themselves are too many for the model and stay
//! in the store.

/// Whether a certificate is believed. Cloudflare's `pending_*` states do not occur: a change of
/// the status is in effect when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Active,
    /// It is not.
    Revoked,
}

impl Status {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}
