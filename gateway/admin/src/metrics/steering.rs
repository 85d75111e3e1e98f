//! Metrics of steering: how connections reached their workers.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Scrape, counters, gauges};
use datapath::observe::{Steered, host_reasons, reasons};

impl Scrape {
    pub(super) fn steering(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let came = self.sum.hosts.iter().flat_map(|host| {
            Steered::ALL
                .into_iter()
                .zip(host.steered)
                .filter(|(_, count)| *count > 0)
                .map(|(how, count)| ([("host", &*host.name), ("by", how.as_str())], count))
        });
        let help = "Client connections with a handshake, by how they came to their worker";
        counters(out, "postern_connections_steered", help, came)?;
        let steering = &self.process.steering;
        let modes = ["kernel", "handoff", "off"].into_iter();
        let modes = modes.map(|mode| ([("mode", mode)], u64::from(mode == steering.mode)));
        gauges(out, "postern_steer_mode", "1 for what steering does", modes)?;
        let help = "Hosts that got other workers while they had some";
        counters(
            out,
            "postern_steer_moves",
            help,
            std::iter::once(([], steering.moves)),
        )?;
        let Some(kernel) = &steering.kernel else {
            return Ok(());
        };
        let help = "Frames that the kernel program looked at";
        counters(
            out,
            "postern_steer_frames",
            help,
            std::iter::once(([], kernel.packets)),
        )?;
        let help = "What the kernel programs decided about segments of new connections";
        let decided = reasons(kernel).map(|(reason, count)| ([("reason", reason)], count));
        counters(out, "postern_steer_segments", help, decided)?;
        let help = "What the kernel programs decided about ClientHellos for a host";
        let decided = steering.hosts.iter().flat_map(|host| {
            let reasons = host.kernel.iter().flat_map(host_reasons);
            // What was seen is the sum of the others.
            let told = reasons.filter(|(reason, count)| *reason != "seen" && *count > 0);
            told.map(|(reason, count)| ([("host", host.host.as_str()), ("reason", reason)], count))
        });
        counters(out, "postern_steer_host_segments", help, decided)
    }
}
