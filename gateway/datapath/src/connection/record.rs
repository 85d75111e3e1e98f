//! What handshakes and certificates leave in statistics, the access log and the recent events.
//!
//! Requests are `exchange`'s.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{StatusCode, Version};

use super::standing::Standing;
use super::{Arrival, Connection, Local, Stop};
use crate::clock;
use crate::http::request_id::RequestId;
use crate::observe::{
    CertificateEvent, CertificateRecord, ConnectionRecord, EventKind, HandshakeRecord,
    HandshakeResult, RequestRecord, Stage, StageTimes, Steered,
};
use snapshot::checks::version_text;
use tls::{Established, HandshakeError, HandshakeFailure, Refusal};
use vocabulary::request_error::RequestError;
use vocabulary::verdict::Reason;

/// Counts a handshake that succeeded, and how long it took.
pub(super) fn record_handshake(
    local: &Local,
    established: &Established,
    (accepted, steered): (Instant, Steered),
    waited: Duration,
    first_received: Option<Instant>,
) {
    let now = clock::now();
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
    stats.verified(slot, established.client.verdict.reason);
}

/// What a connection that took too long is recorded with.
pub(super) const TIMEOUT_PASSED: HandshakeFailure =
    HandshakeFailure::Gateway("timeout.handshake passed");

/// Records a connection whose ClientHello was not there within `timeout.handshake`.
pub(crate) fn never_began(local: &Local, client: SocketAddr, arrival: &Arrival) -> Stop {
    let error = HandshakeError {
        refusal: Refusal::Protocol,
        sni: None,
        host: None,
        client: None,
        about: None,
        failure: TIMEOUT_PASSED,
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

/// Records a connection from a balancer that did not say who its client is.
pub(crate) fn not_introduced(local: &Local, arrival: &Arrival, why: &'static str) -> Stop {
    let error = HandshakeError {
        refusal: Refusal::Protocol,
        sni: None,
        host: None,
        client: None,
        about: None,
        failure: HandshakeFailure::Gateway(why),
    };
    let stop = Stop::ProxyHeader;
    let since = (arrival.accepted, arrival.steered);
    record_refusal(local, arrival.peer, since, &error, stop);
    stop
}

/// Writes down that a client certificate is not, or no longer, good.
pub(super) fn record_certificate(
    local: &Local,
    standing: &Standing,
    event: CertificateEvent,
    reason: Reason,
) {
    let record = CertificateRecord {
        time: clock::time(),
        client: standing.facts.source,
        host: standing.host.name().as_str(),
        zone: &standing.host.endpoint.zone,
        sni: &standing.facts.sni,
        client_auth: &standing.facts.client,
        event,
        reason: reason.as_str(),
    };
    let style = local.log_style();
    local.shared.access_log.certificate(&record, &style);
    local.recorder.certificate(&record);
}

/// Writes down that a connection was ended for what its client did.
pub(super) fn record_connection(connection: &Connection, stop: Stop) {
    let standing = connection.standings.established();
    let local = &connection.local;
    let record = ConnectionRecord {
        time: clock::time(),
        client: standing.facts.source,
        host: standing.host.name().as_str(),
        zone: &standing.host.endpoint.zone,
        sni: &standing.facts.sni,
        client_auth: &standing.facts.client,
        worker: local.index,
        reason: stop.as_str(),
    };
    let style = local.log_style();
    local.shared.access_log.connection(&record, &style);
    local.recorder.connection(&record);
}

/// Counts and logs a request whose head could not be read.
pub(super) fn record_bad_head(
    connection: &Connection,
    id: RequestId,
    status: StatusCode,
    (method, path): (&str, &str),
    detail: &str,
) {
    let standing = connection.standings.established();
    let (facts, host) = (&standing.facts, standing.host.name());
    let mut stats = connection.local.stats.borrow_mut();
    let slot = stats.host(host);
    stats.request(slot, status.as_u16(), facts.client.verdict, None);
    drop(stats);
    let record = RequestRecord {
        time: clock::time(),
        request_id: id.as_str(),
        client: facts.source,
        host: host.as_str(),
        zone: &standing.host.endpoint.zone,
        authority: "",
        method,
        path,
        http_version: version_text(if connection.watch.get().is_some() {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        }),
        status: status.as_u16(),
        bytes_received: 0,
        bytes_sent: 0,
        tls_version: facts.tls_version,
        tls_cipher: facts.tls_cipher,
        sni: &facts.sni,
        resumed: connection.resumed,
        client_auth: &facts.client,
        rule: None,
        logged: &[],
        origin: "",
        worker: connection.local.index,
        steered: connection.steered,
        times: StageTimes::default(),
        error: Some(RequestError::BadHttp),
        detail,
        user_agent: b"",
        referer: b"",
        trace_id: "",
    };
    let style = connection.local.log_style();
    let Local {
        shared, recorder, ..
    } = &*connection.local;
    shared.access_log.write(&record, &style);
    if let Some(wanted) = recorder.wants(EventKind::Failed, record.host, record.time) {
        recorder.request(wanted, &record);
    }
}

/// Counts and logs a handshake that failed.
pub(super) fn record_refusal(
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
    let standing = match (&error.client, error.refusal) {
        (Some(client), _) => Some(client.verdict.reason),
        // A client that has none shows none.
        (None, Refusal::ClientCertificate(reason)) => Some(reason),
        _ => None,
    };
    if let (Some(slot), Some(reason)) = (slot, standing) {
        stats.verified(slot, reason);
    }
    let record = HandshakeRecord {
        time: clock::time(),
        client,
        host: error.host.as_ref().map_or("", |host| host.name.as_str()),
        zone: error.host.as_ref().map_or("", |host| &*host.zone),
        sni: error.sni.as_deref().unwrap_or_default(),
        tls_version: "",
        tls_cipher: "",
        client_auth: error.client.as_ref(),
        worker: local.index,
        steered,
        reason,
        detail: &error.detail(),
        elapsed: accepted.elapsed(),
    };
    let style = local.log_style();
    local.shared.access_log.handshake_failed(&record, &style);
    local.recorder.handshake(&record);
}
