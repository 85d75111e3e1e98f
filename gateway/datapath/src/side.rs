//! Whose side is at fault when something fails.

/// A side of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client: what it sent, or what it did not take.
    Client,
    /// The origin, or the way to it.
    Origin,
    /// This gateway: a bound of its own was reached.
    Gateway,
}
