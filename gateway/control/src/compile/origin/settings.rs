//! What is said of an origin beside its addresses: how they take turns, how they are checked, how long
//! they may take and how much they have at once.

use std::time::Duration;

use super::OriginError;
use crate::limits::{
    HASH_BY_BYTES_MAX, HEALTH_TEXT_BYTES_MAX, HEALTH_TIMEOUT_MAX_SEC, ORIGIN_TIME_MAX_SEC,
};
use crate::model::{HealthKind, HealthSpec, LimitsSpec, OriginSpec, TimeoutsSpec};
use rules::Computed;
use snapshot::http::origin::host_header;
use snapshot::limits::ORIGIN_QUEUE_MAX;
use snapshot::origins::health::Asks;
use snapshot::origins::{Balancing, Gate, HealthCheck, Limit, OriginGroup, Times};
use vocabulary::settings::{Balance, OriginProtocol};

/// From one check of an address to the next, when nothing else is said.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
/// For one check, likewise.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Good answers in a row that make an unhealthy address healthy, likewise.
const HEALTHY_AFTER: u32 = 2;
/// Bad ones that make it unhealthy, likewise.
const UNHEALTHY_AFTER: u32 = 3;
/// How long an address that is back gets fewer requests than its share, when nothing else is said.
pub(super) const SLOW_START: Duration = Duration::from_secs(10);
/// Requests that wait for their turn, when there is a limit and nothing else is said.
const QUEUE: u32 = 100;
/// For how long they do, likewise.
const QUEUE_TIME: Duration = Duration::from_secs(5);
/// Largest number that a limit may be: descriptors end before.
const AT_ONCE_MAX: u32 = 1_000_000;

/// Checks what is said of several addresses.
pub(super) fn check(spec: &OriginSpec) -> Result<(), OriginError> {
    drop(balancing(spec)?);
    if let Some(health) = &spec.health {
        drop(health_check(health)?);
        if health.kind == HealthKind::Grpc && spec.protocol == OriginProtocol::Http1 {
            let why = "gRPC needs HTTP/2, and this origin's `protocol` is `http1`".to_owned();
            return Err(OriginError::Health("kind", why));
        }
    }
    let ejection = spec.ejection.clone().unwrap_or_default();
    let times = [
        ("ejection.sec", ejection.sec, 1),
        ("ejection.max_sec", ejection.max_sec, 1),
        ("slow_start_sec", spec.slow_start_sec, 0),
    ];
    for (what, time, least) in times {
        if time.is_some_and(|time| !(least..=ORIGIN_TIME_MAX_SEC).contains(&time)) {
            return Err(OriginError::Time(what, least));
        }
    }
    check_times(spec)?;
    check_limits(spec)?;
    let percents = [
        ("ejection.max_percent", ejection.max_percent),
        ("panic_percent", spec.panic_percent),
    ];
    for (what, percent) in percents {
        if percent.is_some_and(|percent| percent > 100) {
            return Err(OriginError::Percent(what));
        }
    }
    Ok(())
}

pub(super) fn balancing(spec: &OriginSpec) -> Result<Balancing, OriginError> {
    match (spec.balance, &spec.hash_by) {
        (Balance::RoundRobin, None) => Ok(Balancing::RoundRobin),
        (Balance::LeastRequests, None) => Ok(Balancing::LeastRequests),
        (Balance::Hash, Some(text)) if text.len() > HASH_BY_BYTES_MAX => {
            Err(OriginError::LongExpression)
        }
        (Balance::Hash, Some(text)) => Ok(Balancing::Hash(Computed::value(text)?)),
        _ => Err(OriginError::HashBy),
    }
}

/// Reads how addresses are checked.
pub(super) fn health_check(spec: &HealthSpec) -> Result<HealthCheck, OriginError> {
    let wrong = |part, why: &str| Err(OriginError::Health(part, why.to_owned()));
    let of_http = spec.kind == HealthKind::Http;
    for (part, is_said, has) in [
        ("path", spec.path.is_some(), of_http),
        ("status", spec.status.is_some(), of_http),
        (
            "service",
            spec.service.is_some(),
            spec.kind == HealthKind::Grpc,
        ),
        ("host", spec.host.is_some(), spec.kind != HealthKind::Tcp),
    ] {
        if is_said && !has {
            return wrong(
                part,
                &format!("a check of the kind `{}` does not take it", spec.kind),
            );
        }
    }
    let path = spec.path.as_deref().unwrap_or("/");
    let is_path = path.parse::<http::uri::PathAndQuery>();
    if !path.starts_with('/') || path.len() > HEALTH_TEXT_BYTES_MAX || is_path.is_err() {
        return wrong("path", "expected a path such as `/healthz`");
    }
    if spec
        .status
        .is_some_and(|status| !(100..=599).contains(&status))
    {
        return wrong("status", "expected a status from 100 to 599");
    }
    let service = spec.service.as_deref().unwrap_or_default();
    if service.len() > HEALTH_TEXT_BYTES_MAX {
        let why = format!("it has more than {HEALTH_TEXT_BYTES_MAX} bytes");
        return wrong("service", &why);
    }
    if spec
        .host
        .as_deref()
        .is_some_and(|host| host_header(host).is_none())
    {
        return wrong("host", "expected a host name, with a port if need be");
    }
    for (part, number, most) in [
        ("interval_sec", spec.interval_sec, ORIGIN_TIME_MAX_SEC),
        ("timeout_sec", spec.timeout_sec, HEALTH_TIMEOUT_MAX_SEC),
        ("healthy", spec.healthy, ORIGIN_TIME_MAX_SEC),
        ("unhealthy", spec.unhealthy, ORIGIN_TIME_MAX_SEC),
    ] {
        if number.is_some_and(|number| !(1..=most).contains(&number)) {
            let why = format!("expected a number from 1 to {most}");
            return wrong(part, &why);
        }
    }
    let host = spec.host.as_deref().map(Into::into);
    Ok(HealthCheck {
        asks: match spec.kind {
            HealthKind::Tcp => Asks::Tcp,
            HealthKind::Http => Asks::Http {
                path: path.into(),
                host,
                status: spec.status,
            },
            HealthKind::Grpc => Asks::Grpc {
                service: service.into(),
                host,
            },
        },
        interval: seconds(spec.interval_sec, HEALTH_INTERVAL),
        timeout: seconds(spec.timeout_sec, HEALTH_TIMEOUT),
        healthy: spec.healthy.unwrap_or(HEALTHY_AFTER),
        unhealthy: spec.unhealthy.unwrap_or(UNHEALTHY_AFTER),
    })
}

fn check_times(spec: &OriginSpec) -> Result<(), OriginError> {
    let Some(times) = &spec.timeouts else {
        return Ok(());
    };
    let all = [
        ("timeouts.connect_ms", times.connect_ms),
        ("timeouts.try_ms", times.try_ms),
        ("timeouts.whole_ms", times.whole_ms),
    ];
    check_ms(&all)?;
    match (times.try_ms, times.whole_ms) {
        (Some(one), Some(whole)) if one > whole => Err(OriginError::LongTry),
        _ => Ok(()),
    }
}

fn check_ms(all: &[(&'static str, Option<u32>)]) -> Result<(), OriginError> {
    let fits = |ms: u32| (1..=ORIGIN_TIME_MAX_SEC * 1_000).contains(&ms);
    match all.iter().find(|(_, ms)| ms.is_some_and(|ms| !fits(ms))) {
        None => Ok(()),
        Some((what, _)) => Err(OriginError::Millis(what)),
    }
}

fn check_limits(spec: &OriginSpec) -> Result<(), OriginError> {
    let Some(limits) = &spec.limits else {
        return Ok(());
    };
    if limits.requests.is_none() && limits.connections.is_none() {
        return Err(OriginError::NoLimit);
    }
    for (what, number, least, most) in [
        ("limits.requests", limits.requests, 1, AT_ONCE_MAX),
        ("limits.connections", limits.connections, 1, AT_ONCE_MAX),
        ("limits.queue", limits.queue, 0, ORIGIN_QUEUE_MAX),
    ] {
        if number.is_some_and(|number| !(least..=most).contains(&number)) {
            return Err(OriginError::Limit(what, least, most));
        }
    }
    check_ms(&[("limits.queue_ms", limits.queue_ms)])
}

/// How long the origin may take, where that is said.
pub(super) fn times(spec: &OriginSpec) -> Times {
    let TimeoutsSpec {
        connect_ms,
        try_ms,
        whole_ms,
    } = spec.timeouts.clone().unwrap_or_default();
    let time = |ms: Option<u32>| ms.map(|ms| Duration::from_millis(ms.into()));
    Times {
        connect: time(connect_ms),
        one_try: time(try_ms),
        whole: time(whole_ms),
    }
}

/// What an origin has at once: requests, connections, and how long is waited for them.
pub(super) type Limits = (Option<Limit>, Option<Limit>, Duration);

/// What the origin has at once. Of `last`, the same one before, it takes over who is inside and waits.
pub(super) fn limits(spec: &OriginSpec, is_tls: bool, last: Option<&OriginGroup>) -> Limits {
    let LimitsSpec {
        requests,
        connections,
        queue,
        queue_ms,
    } = spec.limits.clone().unwrap_or_default();
    let queue = queue.unwrap_or(QUEUE);
    let limit = |max: Option<u32>, last: Option<&Limit>| {
        let max = max?;
        let gate = last.map(|last| last.gate.clone());
        let gate = gate.unwrap_or_else(|| Gate::new(max, queue));
        Some(Limit { max, queue, gate })
    };
    // A request over HTTP/1.1 has a connection for itself: who waits for one does so in the same
    // queue, before an address is chosen.
    let is_alone = match spec.protocol {
        OriginProtocol::Http1 => true,
        OriginProtocol::Http2 => false,
        OriginProtocol::Auto => !is_tls,
    };
    let requests = match (requests, connections.filter(|_| is_alone)) {
        (Some(requests), Some(connections)) => Some(requests.min(connections)),
        (requests, connections) => requests.or(connections),
    };
    (
        limit(requests, last.and_then(|last| last.requests.as_ref())),
        limit(connections, last.and_then(|last| last.connections.as_ref())),
        queue_ms.map_or(QUEUE_TIME, |ms| Duration::from_millis(ms.into())),
    )
}

pub(super) fn seconds(said: Option<u32>, default: Duration) -> Duration {
    said.map_or(default, |seconds| Duration::from_secs(seconds.into()))
}
