//! Introduction: a balancer says who the client is, in a PROXY protocol header before its first byte.
//!
//! Connections from `proxy.protocol_from` must begin with one, within `timeout.handshake`; from others
//! none is read, and what they send goes to TLS as it is. Owns the reading; what a header is says
//! [`crate::proxy_protocol`].

use std::rc::Rc;

use super::Worker;
use crate::connection::{self, Arrival, Stop};
use crate::observe::Steered;
use crate::proxy_protocol::{Found, parse};

/// Whether a connection has to begin with a header. One that was handed over has had it.
pub(super) fn is_due(worker: &Worker, arrival: &Arrival) -> bool {
    let balancers = &worker.local.shared.live.load().proxy_protocol_from;
    arrival.steered != Steered::Handoff && balancers.contain(arrival.peer.ip())
}

/// Reads the header and makes its source the client. What was read behind it is left for TLS.
pub(super) async fn read(worker: &Rc<Worker>, arrival: &mut Arrival) -> Result<(), Stop> {
    let patience = worker.local.shared.live.load().handshake_timeout;
    let deadline = tokio::time::Instant::from_std(arrival.accepted + patience);
    let refused =
        |arrival: &Arrival, why| Err(connection::not_introduced(&worker.local, arrival, why));
    loop {
        match parse(&arrival.read) {
            Ok(Found::More) => {}
            Ok(Found::Header(header)) => {
                arrival.read.drain(..header.size);
                if let Some(client) = header.client {
                    arrival.client = client;
                }
                return Ok(());
            }
            Err(error) => return refused(arrival, error.as_str()),
        }
        match tokio::time::timeout_at(deadline, arrival.read_more()).await {
            Ok(true) => {}
            // Balancers look in this way whether somebody listens.
            Ok(false) if arrival.read.is_empty() => return Err(Stop::Closed),
            Ok(false) => {
                return refused(arrival, "the connection ended in the PROXY protocol header");
            }
            Err(_elapsed) => {
                return refused(
                    arrival,
                    "no PROXY protocol header came within timeout.handshake",
                );
            }
        }
    }
}
