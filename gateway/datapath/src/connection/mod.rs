//! One connection, top to bottom: handshake, requests, one [`Stop`].
//!
//! [`serve`] is the list. Each step, and each part of the state, has a file of its own, which alone
//! writes that part:
//!
//! | file | owns |
//! |---|---|
//! | `arrival`, `local` | what a connection comes with, and what it finds on its thread |
//! | `handshake` | the first byte to an established client, or a refusal |
//! | `state` | the connection's parts, and what begins and ends with a request |
//! | `over_http1`, `over_http2` | serving requests over either protocol |
//! | `streams` | the requests of an HTTP/2 connection, which its own task drives |
//! | `drive` | driving an HTTP/2 connection, and its clocks being watched |
//! | `answer`, `origin_head` | the life of one request, and the head that its origin gets |
//! | `forwarding` | the wait for its turn at the origin, and what becomes of its answer |
//! | `proxied` | whose a request is that came through a proxy |
//! | `bad_head` | the answers to heads that nobody can read |
//! | `flood` | what an HTTP/2 client may make us do for nothing |
//! | `refusals` | what h2 refuses by itself |
//! | `remainder` | what is left of requests' bodies that nobody wants |
//! | `exchange` | the exchange of one request: what is counted, timed and logged |
//! | `spare` | the memory of one request's exchange, used again by that of the next |
//! | `trace` | the trace that a request is part of |
//! | `alarm` | the one timer of all that its requests wait for |
//! | `clocks` | what the connection waits for, since when, and until when |
//! | `standing` | who the client is by now, and when it is verified again |
//! | `closing` | the orders to close |
//! | `index`, `revoker` | connections by client certificate, and the end of those no longer let in |
//! | `record` | what handshakes and certificates leave in statistics and the access log |
//! | `stop` | the one reason for which a connection ended |
#![forbid(unsafe_code)]

mod alarm;
mod answer;
mod arrival;
mod bad_head;
mod clocks;
mod closing;
mod drive;
mod exchange;
mod flood;
mod forwarding;
mod handshake;
mod index;
mod local;
mod origin_head;
mod over_http1;
mod over_http2;
mod pace;
mod proxied;
mod record;
mod refusals;
mod remainder;
mod revoker;
mod spare;
mod standing;
mod state;
mod stop;
#[expect(
    clippy::disallowed_types,
    reason = "wakers may be called by any thread; by others they nearly never are, so that the lock is free"
)]
mod streams;
mod trace;

use std::rc::Rc;

pub use arrival::Arrival;
pub use index::Clients;
pub use local::{Drain, Local, Parked, Shared};
use over_http1::Served;
#[cfg(any(test, fuzzing))]
pub(crate) use over_http2::builder as http2_builder;
pub(crate) use record::{never_began, not_introduced};
pub(crate) use revoker::watch;
use state::{Connection, Ends};
pub use stop::Stop;

use crate::io::TlsStream;

/// Serves one connection until it stops.
pub async fn serve(local: Rc<Local>, arrival: Arrival) -> Stop {
    // Boxed, and in functions of their own: a connection is idle most of its life, and whatever
    // this future ever held would be kept room for.
    let (connection, mut stream, http2) = match Box::pin(begin(local, arrival)).await {
        Ok(begun) => begun,
        Err(stop) => return stop,
    };
    loop {
        if let Err(stop) = over_http1::wait_for_request(&connection, &mut stream).await {
            return stop;
        }
        if http2 {
            return Box::pin(over_http2::serve_http2(connection, stream)).await;
        }
        match Box::pin(over_http1::serve_http1(connection.clone(), stream)).await {
            Served::Idle(again) => stream = again,
            Served::Stopped(stop) => return stop,
        }
    }
}

/// From the first byte to a connection that serves requests, over HTTP/2 or not.
async fn begin(
    local: Rc<Local>,
    arrival: Arrival,
) -> Result<(Rc<Connection>, TlsStream, bool), Stop> {
    let tunables = arc_swap::Guard::into_inner(local.shared.live.load());
    let socket = &arrival.socket;
    let Ok(server) = socket.local_address() else {
        return Err(Stop::Closed);
    };
    let (client, steered) = (arrival.client, arrival.steered);
    let account = arrival.account.clone();
    let ends = Ends { client, server };
    let (stream, established, found) =
        handshake::shake_hands(&local, arrival, client, &tunables).await?;
    let http2 = established.http2;
    let connection = Connection::new(
        local,
        tunables,
        ends,
        (steered, account),
        (established, found),
        &stream,
    );
    connection.enter_index();
    Ok((connection, stream, http2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// Ten thousand idle connections are ten thousand of each of these; what is only needed now and
    /// then belongs into a box.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(future_bytes(serve) <= 768, "{}", future_bytes(serve));
        assert!(
            size_of::<Connection>() <= 900,
            "{}",
            size_of::<Connection>()
        );
        assert!(
            size_of::<standing::Standing>() <= 256,
            "{}",
            size_of::<standing::Standing>()
        );
    }
}
