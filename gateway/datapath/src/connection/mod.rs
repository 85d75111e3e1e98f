//! One connection, top to bottom: handshake, requests, one [`Stop`].
//!
//! [`serve`] reads like the life of a connection in the crate's documentation. `answer` is the
//! life of one request in it, `exchange` its account, `http` drives hyper and watches the clocks,
//! `judged` is who the client is by now, `clients` ends the connections of certificates that are no
//! longer good.

mod answer;
mod arrival;
mod clients;
mod exchange;
mod http;
mod judged;
mod local;
mod stop;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use ::http::HeaderValue;

pub use arrival::Arrival;
pub use clients::Clients;
pub(crate) use clients::watch;
use clients::{Cut, Shown};
use exchange::Tunnel;
use http::Served;
use judged::Judged;
pub use local::{Drain, Local, Parked, Shared};
pub use stop::Stop;

use crate::http::answer::PLAIN_HTTP;
use crate::io::{Activity, TcpInfo, TlsStream};
use crate::observe::{
    CertificateEvent, CertificateRecord, HandshakeRecord, HandshakeResult, Stage, Steered,
};
use config::Tunables;
use rules::{ConnectionFacts, ConnectionState, Timed};
use snapshot::{Host, Snapshot};
use tls::{AcceptSettings, Chain, Established, HandshakeError, Refusal};
use vocabulary::verdict::Reason;

/// Serves one connection until it stops.
pub async fn serve(local: Rc<Local>, arrival: Arrival) -> Stop {
    // Boxed, and in functions of their own: a connection is idle most of its life, and whatever
    // this future ever held would be kept room for.
    let (connection, mut stream, http2) = match Box::pin(begin(local, arrival)).await {
        Ok(begun) => begun,
        Err(stop) => return stop,
    };
    loop {
        if let Err(stop) = http::wait_for_request(&connection, &mut stream).await {
            return stop;
        }
        if http2 {
            return Box::pin(http::serve_http2(connection, stream)).await;
        }
        match Box::pin(http::serve_http1(connection.clone(), stream)).await {
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
    let (Ok(client), Ok(server)) = (socket.peer_address(), socket.local_address()) else {
        return Err(Stop::Closed);
    };
    let steered = arrival.steered;
    let (stream, established, found) = shake_hands(&local, arrival, client, &tunables).await?;
    let http2 = established.http2;
    let connection = Connection::new(
        local,
        tunables,
        (client, server, steered),
        (established, found),
        &stream,
    );
    connection.enter_index();
    Ok((connection, stream, http2))
}

/// The host of a handshake, and the snapshot that it was found in.
struct Found {
    snapshot: Arc<Snapshot>,
    host: Arc<Host>,
}

/// From the first byte to a client that is known, or a refusal that is recorded.
async fn shake_hands(
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
    } = arrival;
    let waited = accepted.elapsed();
    let acceptor = &local.shared.acceptor;
    let settings = AcceptSettings {
        now_sec: now_sec(),
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
    // A client that cannot be judged without its CA's responder waits, and nobody else does.
    if let Ok(Ok(finished)) = outcome
        && let Some(question) = acceptor.must_ask(stream.session())
    {
        let left = deadline.duration_since(tokio::time::Instant::now());
        local.shared.questions.wait(question, left).await;
        if !finished {
            outcome = tokio::time::timeout_at(deadline, stream.handshake()).await;
        }
    }
    let established = match outcome {
        Ok(Ok(true)) => acceptor.establish(stream.session()),
        // Nobody is let in half way.
        Ok(Ok(false)) => {
            let detail = "the client could not be judged".into();
            Err(acceptor.failure(stream.session(), detail))
        }
        Ok(Err(detail)) => Err(acceptor.failure(stream.session(), detail)),
        Err(_) => {
            let error = acceptor.failure(stream.session(), "timeout.handshake passed".into());
            let stop = Stop::HandshakeTimeout;
            record_refusal(local, client, (accepted, steered), &error, stop);
            return Err(Stop::HandshakeTimeout);
        }
    };
    // The snapshot is the one that the handshake asked, so that it answers the same again.
    let found = established.and_then(|established| {
        match snapshot.host_of(established.sni.as_deref()).cloned() {
            Some(host) => Ok((established, Found { snapshot, host })),
            None => Err(acceptor.failure(stream.session(), "the host was lost".into())),
        }
    });
    match found {
        Ok((established, found)) => {
            if let Some(question) = established.judgement.question() {
                local.shared.questions.ask(question);
            }
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

/// What is known of a connection while it serves requests.
struct Connection {
    local: Rc<Local>,
    /// As they were when it began. Shared: a copy would be a tenth of an idle connection's memory.
    tunables: Arc<Tunables>,
    resumed: bool,
    steered: Steered,
    /// The client's chain, to be judged again when trust changes.
    chain: Chain,
    /// The first judgement.
    established: Rc<Judged>,
    /// The judgement of now.
    judged: RefCell<Rc<Judged>>,
    activity: Rc<Activity>,
    /// For rules that ask how far away the client is.
    tcp: TcpInfo,
    requests_open: Cell<usize>,
    requests_total: Cell<usize>,
    idle_since: Cell<Instant>,
    /// How much the client had taken of what is being sent when somebody last looked, and since
    /// when it has been so much.
    taken: Cell<(u64, Option<Instant>)>,
    /// Responses of which something waits for the client to ask for it. On HTTP/2 a client can
    /// leave them there with a window of nothing, and go on taking answers to its PINGs.
    offers: Cell<usize>,
    /// How often the client has asked for something of a response.
    asked: Cell<u64>,
    /// As `taken`, for `asked`.
    fetched: Cell<(u64, Option<Instant>)>,
    /// The client's address as the origin is told it.
    client_address: HeaderValue,
    /// What SNI said, as the origin is told it.
    sni: HeaderValue,
    /// No further request is wanted on it.
    retired: Cell<bool>,
    /// Authorities of open requests (a tunnel is one) that are for other hosts than SNI named.
    elsewhere: RefCell<Vec<Arc<str>>>,
    /// Its place in the worker's index of clients.
    entered: Cell<Option<(Shown, usize)>>,
    /// Its certificate is no longer good, or it is not let in without one.
    cut: RefCell<Option<Cut>>,
    /// Wakes whoever drives it.
    waker: RefCell<Option<Waker>>,
    /// A request's body was left unread: closing at once would cost the client its answer.
    unread: Cell<bool>,
    tunnel: RefCell<Option<Tunnel>>,
    /// What rules have worked out for this connection.
    rules: ConnectionState,
}

impl Timed for TcpInfo {
    fn round_trip(&self) -> Option<Duration> {
        Self::round_trip(self)
    }
}

/// What came out of our own parsers is visible ASCII; anything else names no host of anybody's.
fn value_of(name: &str) -> HeaderValue {
    HeaderValue::from_str(name).unwrap_or(HeaderValue::from_static("invalid"))
}

impl Connection {
    fn new(
        local: Rc<Local>,
        tunables: Arc<Tunables>,
        (source, server, steered): (SocketAddr, SocketAddr, Steered),
        (established, found): (Established, Found),
        stream: &TlsStream,
    ) -> Rc<Self> {
        let judged = Rc::new(Judged {
            generation: found.snapshot.generation,
            trust_epoch: found.snapshot.trust_epoch,
            judgement: established.judgement,
            host: found.host,
            facts: ConnectionFacts {
                source,
                local: server,
                sni: established.sni.unwrap_or_default().into(),
                tls_version: established.version,
                tls_cipher: established.cipher,
                client_hello: established.hello.into(),
                geo: local.shared.geo.load_full(),
                client: established.client,
            },
        });
        Rc::new(Self {
            local,
            tunables,
            resumed: established.resumed,
            steered,
            chain: established.chain,
            established: judged.clone(),
            judged: RefCell::new(judged.clone()),
            activity: stream.activity(),
            tcp: stream.info(),
            requests_open: Cell::new(0),
            requests_total: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            taken: Cell::default(),
            offers: Cell::new(0),
            asked: Cell::new(0),
            fetched: Cell::default(),
            client_address: HeaderValue::from_str(&source.ip().to_string())
                .unwrap_or(HeaderValue::from_static("unknown")),
            sni: value_of(&judged.facts.sni),
            retired: Cell::new(false),
            elsewhere: RefCell::default(),
            entered: Cell::default(),
            cut: RefCell::default(),
            waker: RefCell::default(),
            unread: Cell::new(false),
            tunnel: RefCell::new(None),
            rules: ConnectionState::default(),
        })
    }

    /// An authority as the origin is told it.
    fn authority(&self, name: &str) -> HeaderValue {
        if *name == *self.established.facts.sni {
            self.sni.clone()
        } else {
            value_of(name)
        }
    }

    /// Remembers who drives the connection, to be woken when its certificate is no longer good.
    fn woken_by(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// When the connection has to be over, if it was cut.
    fn cut_due(&self) -> Option<Instant> {
        self.cut.borrow().as_ref().map(|cut| cut.due)
    }

    fn request_begins(&self) {
        if self.requests_open.get() == 0 {
            self.local.busy.set(self.local.busy.get() + 1);
        }
        self.requests_open.set(self.requests_open.get() + 1);
        self.requests_total.set(self.requests_total.get() + 1);
        if self.requests_total.get() >= self.tunables.connection_requests_max {
            self.retired.set(true);
        }
    }

    fn request_ends(&self) {
        self.requests_open
            .set(self.requests_open.get().saturating_sub(1));
        if self.requests_open.get() == 0 {
            self.local.busy.set(self.local.busy.get().saturating_sub(1));
            self.idle_since.set(Instant::now());
            self.activity.first_received.set(None);
        }
    }
}

/// The time, since the epoch.
fn since_epoch() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// Seconds since the epoch.
fn now_sec() -> i64 {
    i64::try_from(since_epoch().as_secs()).unwrap_or(i64::MAX)
}

fn record_handshake(
    local: &Local,
    established: &Established,
    (accepted, steered): (Instant, Steered),
    waited: Duration,
    first_received: Option<Instant>,
) {
    let now = Instant::now();
    let first = first_received.unwrap_or(accepted);
    let mut stats = local.stats.borrow_mut();
    let slot = stats.host(&established.host.name);
    let (stage, result) = if established.resumed {
        (Stage::HandshakeResumed, HandshakeResult::Resumed)
    } else {
        (Stage::HandshakeFull, HandshakeResult::Full)
    };
    stats.record(slot, Stage::AcceptWait, waited);
    stats.record(slot, Stage::ClientHello, first.duration_since(accepted));
    stats.record(slot, stage, now.duration_since(first));
    stats.handshake(Some(slot), result);
    stats.steered(slot, steered);
    stats.judged(slot, established.client.verdict.reason);
}

/// Records a connection whose ClientHello was not there within `timeout.handshake`.
pub(crate) fn never_began(local: &Local, client: SocketAddr, arrival: &Arrival) -> Stop {
    let error = HandshakeError {
        refusal: Refusal::Protocol,
        sni: None,
        host: None,
        client: None,
        detail: "timeout.handshake passed".into(),
    };
    let stop = Stop::HandshakeTimeout;
    record_refusal(
        local,
        client,
        (arrival.accepted, arrival.steered),
        &error,
        stop,
    );
    stop
}

/// Writes down that a client certificate is not, or no longer, good.
fn record_certificate(local: &Local, judged: &Judged, event: CertificateEvent, reason: Reason) {
    local.shared.access_log.certificate(&CertificateRecord {
        time: SystemTime::now(),
        client: judged.facts.source,
        host: judged.host.name().as_str(),
        sni: &judged.facts.sni,
        client_auth: &judged.facts.client,
        event,
        reason: reason.as_str(),
    });
}

fn record_refusal(
    local: &Local,
    client: SocketAddr,
    (accepted, steered): (Instant, Steered),
    error: &HandshakeError,
    stop: Stop,
) {
    let reason = match stop {
        Stop::Handshake(refusal) => refusal.as_str(),
        other => other.as_str(),
    };
    let mut stats = local.stats.borrow_mut();
    let slot = error.host.as_ref().map(|host| stats.host(&host.name));
    stats.handshake(slot, HandshakeResult::Failed(reason));
    let judged = match (&error.client, error.refusal) {
        (Some(client), _) => Some(client.verdict.reason),
        // A client that has none shows none.
        (None, Refusal::ClientCertificate(reason)) => Some(reason),
        _ => None,
    };
    if let (Some(slot), Some(reason)) = (slot, judged) {
        stats.judged(slot, reason);
    }
    local.shared.access_log.handshake_failed(&HandshakeRecord {
        time: SystemTime::now(),
        client,
        host: error.host.as_ref().map_or("", |host| host.name.as_str()),
        sni: error.sni.as_deref().unwrap_or_default(),
        tls_version: "",
        tls_cipher: "",
        client_auth: error.client.as_ref(),
        worker: local.index,
        steered,
        reason,
        detail: &error.detail,
        elapsed: accepted.elapsed(),
    });
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
        assert!(size_of::<Judged>() <= 256, "{}", size_of::<Judged>());
    }
}
