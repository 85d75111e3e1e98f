//! Metrics of origins' addresses.

use std::fmt;
use std::time::Instant;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Scrape, counters, gauges};
use crate::limits::METRICS_ADDRESSES_MAX;
use snapshot::Snapshot;

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
    let looked_after = |group: &&std::sync::Arc<snapshot::origins::OriginGroup>| {
        group.has_several() || group.health.is_some()
    };
    let groups = snapshot.origins.iter().filter(looked_after);
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

impl Scrape {
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
        Ok(())
    }
}
