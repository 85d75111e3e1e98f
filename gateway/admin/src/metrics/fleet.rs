//! Metrics of the fleet: how far this edge is, how old that may be, and how fast changes come.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Scrape, gauge, gauges};
use crate::fleet::{FleetShown, FleetState};

impl Scrape {
    pub(super) fn fleet(&self, fleet: &FleetShown, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let alone = u64::try_from(fleet.alone.len()).unwrap_or(u64::MAX);
        for (name, help, value) in [
            (
                "postern_fleet_revision",
                "Last revision of the fleet that is in force on this edge",
                fleet.revision,
            ),
            (
                "postern_fleet_head",
                "Last revision that etcd was seen to have",
                fleet.head.unwrap_or(fleet.revision),
            ),
            (
                "postern_fleet_leads",
                "Whether this edge does what is done once",
                u64::from(fleet.leads),
            ),
            (
                "postern_fleet_alone",
                "Revocations and denials that hold on this edge alone",
                alone,
            ),
        ] {
            gauge(out, name, help, None, value)?;
        }
        gauge(
            out,
            "postern_fleet_age",
            "For how long what is in force here may have been old",
            Some(&Unit::Seconds),
            fleet.age_seconds,
        )?;
        let states = FleetState::ALL.into_iter().map(|state| {
            let is_it = u64::from(state == fleet.state);
            ([("state", state.as_str())], is_it)
        });
        let help = "How this edge stands to its fleet";
        gauges(out, "postern_fleet_state", help, states)?;
        let name = "postern_fleet_in_force";
        let help = "From when a change was made elsewhere to when it was in force here";
        let mut family =
            out.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (percentile, milliseconds) in [
            ("50", fleet.in_force.p50_ms),
            ("99", fleet.in_force.p99_ms),
            ("100", fleet.in_force.max_ms),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "a time in milliseconds")]
            let seconds = milliseconds as f64 / 1000.0;
            let labels = [("percentile", percentile)];
            family.encode_family(&labels)?.encode_gauge(&seconds)?;
        }
        Ok(())
    }
}
