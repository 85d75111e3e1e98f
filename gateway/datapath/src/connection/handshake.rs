//! The handshake: from the first byte to an established client, or a refusal that is recorded.
//!
//! Owns the order of its steps and its deadline. Does not decide whom to let in (`tls`).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::record::{TIMEOUT_PASSED, record_handshake, record_refusal};
use super::{Arrival, Local, Stop, trace};
use crate::clock;
use crate::http::answer::PLAIN_HTTP;
use crate::io::TlsStream;
use crate::observe::spans::Began;
use config::Tunables;
use snapshot::{Host, Snapshot};
use tls::{AcceptSettings, Established, HandshakeFailure, Refusal};

/// The host of a handshake, and the snapshot that it was found in.
pub(super) struct Found {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) host: Arc<Host>,
    /// For the trace of the first request.
    pub(super) began: Option<Box<Began>>,
}

/// From the first byte to a client that is known, or a refusal that is recorded.
pub(super) async fn shake_hands(
    local: &Rc<Local>,
    arrival: Arrival,
    client: SocketAddr,
    tunables: &Tunables,
) -> Result<(TlsStream, Established, Found), Stop> {
    let Arrival {
        socket,
        accepted,
        read,
        steered,
        ..
    } = arrival;
    let waited = accepted.elapsed();
    let acceptor = &local.shared.acceptor;
    let settings = AcceptSettings {
        now_sec: clock::now_sec(),
        chain_bytes_max: tunables.chain_bytes_max,
        tickets: tunables.tickets,
    };
    let snapshot = local.shared.published.load();
    let session = acceptor
        .accept(snapshot.clone(), settings)
        .map_err(|_no_memory| Stop::Handshake(Refusal::Protocol))?;
    let mut stream = TlsStream::resume(socket, session, read);
    let deadline = tokio::time::Instant::from_std(accepted + tunables.handshake_timeout);
    let mut outcome = tokio::time::timeout_at(deadline, stream.handshake()).await;
    // A client that cannot be verified without its CA's responder waits, and no other does.
    if let Ok(Ok(finished)) = outcome
        && let Some(question) = acceptor.must_ask(stream.session())
    {
        let left = deadline.duration_since(tokio::time::Instant::from_std(clock::now()));
        local.shared.questions.wait(question, left).await;
        if !finished {
            outcome = tokio::time::timeout_at(deadline, stream.handshake()).await;
        }
    }
    if matches!(outcome, Ok(Ok(true))) && acceptor.is_challenge(stream.session()) {
        tracing::debug!(%client, "an ACME server was shown the certificate that it asked for");
        drop(tokio::time::timeout(tunables.header_timeout, stream.flush()).await);
        stream.linger().await;
        return Err(Stop::AcmeChallenge);
    }
    let established = match outcome {
        Ok(Ok(true)) => acceptor.establish(stream.session()),
        // No client is let in half way.
        Ok(Ok(false)) => {
            let failure = HandshakeFailure::Gateway("the client could not be verified");
            Err(acceptor.failure(stream.session(), failure))
        }
        Ok(Err(failure)) => Err(acceptor.failure(stream.session(), failure)),
        Err(_) => {
            let error = acceptor.failure(stream.session(), TIMEOUT_PASSED);
            let stop = Stop::HandshakeTimeout;
            record_refusal(local, client, (accepted, steered), &error, stop);
            return Err(Stop::HandshakeTimeout);
        }
    };
    // The snapshot is the one that the handshake asked, so that it answers the same again.
    let found = established.and_then(|established| {
        match snapshot.host_of(established.sni.as_deref()).cloned() {
            Some(host) => {
                let began = trace::began(tunables.trace_context, accepted, waited);
                let found = Found {
                    snapshot,
                    host,
                    began,
                };
                Ok((established, found))
            }
            None => {
                let failure = HandshakeFailure::Gateway("the host was lost");
                Err(acceptor.failure(stream.session(), failure))
            }
        }
    });
    match found {
        Ok((established, found)) => {
            if let Some(question) = established.verification.question() {
                local.shared.questions.ask(question);
            }
            stream.acknowledge();
            let first_received = stream.activity().first_received.take();
            record_handshake(
                local,
                &established,
                (accepted, steered),
                waited,
                first_received,
            );
            Ok((stream, established, found))
        }
        Err(error) => {
            let stop = Stop::Handshake(error.refusal);
            record_refusal(local, client, (accepted, steered), &error, stop);
            let farewell = async {
                if error.refusal == Refusal::PlainHttp {
                    stream.answer_in_clear(PLAIN_HTTP).await
                } else {
                    stream.flush().await
                }
            };
            // A client that does not take its alert does not get it.
            drop(tokio::time::timeout(tunables.header_timeout, farewell).await);
            stream.linger().await;
            Err(stop)
        }
    }
}
