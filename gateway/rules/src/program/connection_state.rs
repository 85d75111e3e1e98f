//! The state of a connection: what is kept beside its facts, so that later requests cost less than
//! the first.

use std::cell::RefCell;

use super::connection_matches::ConnectionMatches;
use crate::eval::connection_values::ConnectionValues;
#[cfg(doc)]
use crate::facts::ConnectionFacts;

/// What is worked out once per connection and kept beside its [`ConnectionFacts`].
///
/// Belongs to one connection for its life: another verification of the certificate is noticed,
/// another address, ClientHello or GeoIP database is not.
#[derive(Debug, Default)]
pub struct ConnectionState {
    pub(crate) values: ConnectionValues,
    /// By the rules that stayed and by those that changed.
    matches: RefCell<[Option<ConnectionMatches>; 2]>,
}

impl ConnectionState {
    /// Takes out what is remembered, for the length of one decision.
    pub(super) fn take(&self) -> [Option<ConnectionMatches>; 2] {
        self.matches.take()
    }

    /// Puts it back.
    pub(super) fn keep(&self, matches: [Option<ConnectionMatches>; 2]) {
        self.matches.replace(matches);
    }
}
