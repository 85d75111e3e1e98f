//! Requests of proxies in front: whose each of them is.
//!
//! A proxy of `proxy.trusted` sends many clients' requests over one connection. Owns the standing of
//! such a request, which differs from its connection's in the client's address alone. What the
//! connection holds is charged to the proxy.

use std::rc::Rc;

use http1::Headers;

use super::Connection;
use super::standing::Standing;
use rules::ConnectionFacts;
use snapshot::http::client_address::{ClientAddressError, client};

/// The standing of a request: its connection's, with the client that the proxy names.
pub(super) fn standing_of(
    connection: &Connection,
    standing: &Rc<Standing>,
    headers: &Headers,
) -> Result<Rc<Standing>, ClientAddressError> {
    // As they are now: a proxy that is not trusted any more is not believed on what it has open either.
    let live = connection.local.shared.live.load();
    let proxies = &live.proxy_trusted;
    if !proxies.contain(standing.facts.source.ip()) {
        return Ok(standing.clone());
    }
    let header = live.proxy_header;
    let found = client(headers, header, |address| proxies.contain(address))?;
    let Some(source) = found else {
        return Ok(standing.clone());
    };
    Ok(Rc::new(Standing {
        edition: standing.edition,
        trust_epoch: standing.trust_epoch,
        verification: standing.verification.clone(),
        host: standing.host.clone(),
        facts: ConnectionFacts {
            source,
            ..standing.facts.clone()
        },
    }))
}

/// Whether a request is of another client than the one that is connected.
pub(super) fn is_anothers(connection: &Connection, standing: &Standing) -> bool {
    standing.facts.source != connection.standings.established().facts.source
}
