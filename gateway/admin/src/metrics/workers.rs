//! Metrics of workers: their connections, and the reasons that ended them.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Scrape, counters, gauges};
use datapath::observe::stats::WorkerStats;

impl Scrape {
    pub(super) fn connections(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stops = self
            .sum
            .stops
            .iter()
            .map(|(stop, count)| ([("stop", stop)], count));
        counters(
            out,
            "postern_connection_stops",
            "Client connections that ended, by the one reason",
            stops,
        )?;
        type Read = fn(&WorkerStats) -> u64;
        let workers: Vec<(String, &WorkerStats)> = self
            .workers
            .iter()
            .map(|stats| (stats.worker.to_string(), stats))
            .collect();
        let per_worker = |read: Read| {
            workers
                .iter()
                .map(move |(name, stats)| ([("worker", name.as_str())], read(stats)))
        };
        let totals: [(&str, &str, Read); 5] = [
            (
                "postern_connections_accepted",
                "Client connections accepted",
                |stats| stats.accepted,
            ),
            (
                "postern_connections_refused",
                "Client connections closed because limit.connections was reached",
                |stats| stats.refused,
            ),
            (
                "postern_connections_handed_over",
                "Client connections given to another worker",
                |stats| stats.handed_over,
            ),
            (
                "postern_connections_kept",
                "Client connections of another worker's host that were served here, because it had no room",
                |stats| stats.kept,
            ),
            (
                "postern_origin_requests_repeated",
                "Requests sent again because their connection to the origin died under them, or was refused",
                |stats| stats.origin_repeated,
            ),
        ];
        for (name, help, read) in totals {
            counters(out, name, help, per_worker(read))?;
        }
        let levels: [(&str, &str, Read); 5] = [
            (
                "postern_connections_open",
                "Client connections open",
                |stats| stats.connections_open,
            ),
            (
                "postern_connections_idle",
                "Client connections without a request in progress",
                |stats| stats.connections_idle,
            ),
            (
                "postern_connections_parked",
                "Idle client connections that hold no buffers",
                |stats| stats.connections_parked,
            ),
            (
                "postern_origin_connections_open",
                "Origin connections open",
                |stats| stats.origin_connections_open,
            ),
            (
                "postern_origin_connections_idle",
                "Origin connections that wait for a request",
                |stats| stats.origin_connections_idle,
            ),
        ];
        for (name, help, read) in levels {
            gauges(out, name, help, per_worker(read))?;
        }
        Ok(())
    }
}
