//! A client certificate's status. The certificates themselves are too many for the model and stay
//! in the store.

vocabulary::words! {
    /// Whether a certificate is believed. Cloudflare's `pending_*` states do not occur: a change of
    /// the status is in effect when it is acknowledged.
    pub enum Status("a status of a client certificate", without serde) {
        /// It is.
        Active = "active",
        /// It is not.
        Revoked = "revoked",
    }
}
