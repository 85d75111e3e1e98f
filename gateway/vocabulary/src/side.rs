//! Whose side a failure is on: who has to do something so that it does not happen again.

crate::words! {
    /// Whose side a failure is on.
    pub enum Side("a side of a failure") {
        /// The client of a host: what it sent.
        Client = "client",
        /// A host's origin: it is down, slow, or answers what cannot be passed on.
        Origin = "origin",
        /// A server that revocation lists and OCSP answers are fetched from.
        Source = "source",
        /// Who configures the gateway: what was asked of it, or left undone.
        Operator = "operator",
        /// The gateway, or the machine it runs on.
        Us = "us",
    }
}
