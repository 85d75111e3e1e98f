//! Metrics of origins: their addresses, and what they have at once.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Scrape, counters, gauges};
use crate::limits::METRICS_ADDRESSES_MAX;
use fetch::NameStatus;
use snapshot::Snapshot;
use snapshot::origins::OriginGroup;
use snapshot::origins::gate::GateCounts;

/// What is known of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressStatus {
    /// `ZONE/NAME`, or the name of the host whose own origin it is.
    pub origin: Box<str>,
    /// Its URL.
    pub address: Box<str>,
    /// Whether it gets requests.
    pub is_good: bool,
    /// Requests that are open.
    pub open: u64,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// How often it got none for a while because some failed.
    pub ejections: u64,
}

/// The addresses of origins that have several or are checked, up to [`METRICS_ADDRESSES_MAX`].
#[must_use]
pub fn addresses(snapshot: &Snapshot, now: Instant) -> Vec<AddressStatus> {
    let looked_after = |group: &&Arc<OriginGroup>| group.has_several() || group.health.is_some();
    let groups = snapshot.origins.iter().filter(looked_after);
    states(groups, now)
}

/// The addresses of all origins, up to [`METRICS_ADDRESSES_MAX`].
#[must_use]
pub fn all_addresses(snapshot: &Snapshot, now: Instant) -> Vec<AddressStatus> {
    states(snapshot.origins.iter(), now)
}

fn states<'s>(
    groups: impl Iterator<Item = &'s Arc<OriginGroup>>,
    now: Instant,
) -> Vec<AddressStatus> {
    let all = groups.flat_map(|group| {
        group.addresses.iter().map(move |one| {
            let (requests, failed) = one.state.counts();
            AddressStatus {
                origin: group.label.clone(),
                address: one.origin.url.clone(),
                is_good: one.state.is_good(now),
                open: one.state.open().into(),
                requests,
                failed,
                ejections: one.state.ejections(),
            }
        })
    });
    all.take(METRICS_ADDRESSES_MAX).collect()
}

/// What is known of a limit of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitStatus {
    /// `ZONE/NAME`, or the name of the host whose own origin it is.
    pub origin: Box<str>,
    /// `requests` or `connections`.
    pub limit: &'static str,
    /// So many at once.
    pub max: u32,
    /// Who is inside, who waits, and what was counted of that.
    pub counts: GateCounts,
}

/// The limits of origins, up to [`METRICS_ADDRESSES_MAX`].
#[must_use]
pub fn limits(snapshot: &Snapshot) -> Vec<LimitStatus> {
    let all = snapshot.origins.iter().flat_map(|group| {
        let limits = [
            ("requests", &group.requests),
            ("connections", &group.connections),
        ];
        let said = limits.map(|(name, limit)| {
            limit.as_ref().map(|limit| LimitStatus {
                origin: group.label.clone(),
                limit: name,
                max: limit.max,
                counts: limit.gate.counts(),
            })
        });
        said.into_iter().flatten()
    });
    all.take(METRICS_ADDRESSES_MAX).collect()
}

impl Scrape {
    fn origin_limits(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Read = fn(&LimitStatus) -> u64;
        let all = |read: Read| {
            self.process.origin_limits.iter().map(move |one| {
                let labels = [("origin", &*one.origin), ("limit", one.limit)];
                (labels, read(one))
            })
        };
        let now: [(&str, &str, Read); 3] = [
            (
                "postern_origin_limit",
                "Requests or connections that an origin may have at once",
                |one| one.max.into(),
            ),
            (
                "postern_origin_in_use",
                "Requests or connections that it has",
                |one| one.counts.inside.into(),
            ),
            (
                "postern_origin_waiting",
                "Requests that wait for their turn at an origin, or for a connection to it",
                |one| one.counts.waiting.into(),
            ),
        ];
        for (name, help, read) in now {
            gauges(out, name, help, all(read))?;
        }
        let totals: [(&str, &str, Read); 2] = [
            (
                "postern_origin_queued",
                "Requests that had to wait for their turn at an origin, or for a connection to it",
                |one| one.counts.queued,
            ),
            (
                "postern_origin_refused",
                "Requests that were refused because the queue was full, or they had waited too long",
                |one| one.counts.refused,
            ),
        ];
        for (name, help, read) in totals {
            counters(out, name, help, all(read))?;
        }
        let help = "How long requests that got their turn had waited for it, together";
        let unit = Some(&Unit::Seconds);
        let mut family =
            out.encode_descriptor("postern_origin_queue", help, unit, MetricType::Counter)?;
        for one in &self.process.origin_limits {
            let labels = [("origin", &*one.origin), ("limit", one.limit)];
            let seconds = one.counts.waited.as_secs_f64();
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, f64, f64>(&seconds, None)?;
        }
        Ok(())
    }

    pub(super) fn origins(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Read = fn(&AddressStatus) -> u64;
        let all = |read: Read| {
            self.process.origins.iter().map(move |one| {
                let labels = [("origin", &*one.origin), ("address", &*one.address)];
                (labels, read(one))
            })
        };
        let now: [(&str, &str, Read); 2] = [
            (
                "postern_origin_healthy",
                "1 while an address of an origin gets requests, 0 while it is ejected or its checks fail",
                |one| u64::from(one.is_good),
            ),
            (
                "postern_origin_open_requests",
                "Requests that are open at an address of an origin",
                |one| one.open,
            ),
        ];
        for (name, help, read) in now {
            gauges(out, name, help, all(read))?;
        }
        let totals: [(&str, &str, Read); 3] = [
            (
                "postern_origin_requests",
                "Requests sent to an address of an origin",
                |one| one.requests,
            ),
            (
                "postern_origin_requests_failed",
                "Requests that an address of an origin failed, those that went to another one among them",
                |one| one.failed,
            ),
            (
                "postern_origin_ejections",
                "How often an address of an origin got no requests for a while because some had failed",
                |one| one.ejections,
            ),
        ];
        for (name, help, read) in totals {
            counters(out, name, help, all(read))?;
        }
        self.names(out)?;
        self.origin_limits(out)
    }

    fn names(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Read = fn(&NameStatus) -> u64;
        let all = |read: Read| {
            let names = self.process.names.iter().take(METRICS_ADDRESSES_MAX);
            names.map(move |one| ([("name", &*one.name)], read(one)))
        };
        let now: [(&str, &str, Read); 2] = [
            (
                "postern_origin_name_failing",
                "1 while the name of an origin cannot be found",
                |one| u64::from(one.error.is_some()),
            ),
            (
                "postern_origin_name_addresses",
                "Addresses that the name of an origin means, as far as that is known",
                |one| one.addresses.len() as u64,
            ),
        ];
        for (name, help, read) in now {
            gauges(out, name, help, all(read))?;
        }
        Ok(())
    }
}
