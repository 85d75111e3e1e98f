//! Values that are computed once for a connection: the parsed ClientHello and the place of the
//! client.

use std::cell::OnceCell;

use super::client_hello::Hello;
use crate::facts::ConnectionFacts;
use crate::geo::Location;

/// Belongs to one connection for its life; each value is made when a rule first reads it.
#[derive(Debug, Default)]
pub(crate) struct ConnectionValues {
    hello: OnceCell<Box<Hello>>,
    place: OnceCell<Box<Location>>,
}

impl ConnectionValues {
    /// What the ClientHello says.
    pub(crate) fn hello(&self, connection: &ConnectionFacts) -> &Hello {
        self.hello
            .get_or_init(|| Hello::read(&connection.client_hello).into())
    }

    /// What is known of the client's address.
    pub(crate) fn place(&self, connection: &ConnectionFacts) -> &Location {
        self.place.get_or_init(|| {
            let address = connection.source.ip().to_canonical();
            let geo = connection.geo.as_ref();
            let place = geo.map(|geo| geo.place(address));
            place.unwrap_or_default().into()
        })
    }

    /// Whether a rule has asked for [`Self::place`] yet.
    #[cfg(test)]
    pub(crate) fn has_looked(&self) -> bool {
        self.place.get().is_some()
    }
}
