//! Latencies of the last hour, in steps: of each host, how long each stage took.
//!
//! Owns the series and its bounds. What workers count since they started is
//! [`datapath::observe::WorkerStats`]'s; here is what was added in each step.

mod buckets;
mod series;

use std::sync::Arc;

pub(crate) use self::buckets::Counts as Buckets;
pub(crate) use self::series::Series;
use crate::limits::SERIES_STEP;
use control::Moment;
use datapath::observe::Workers;

/// Adds a step whenever one is over, until it is dropped.
pub(crate) async fn gather(series: Arc<Series>, workers: Arc<dyn Workers>) {
    let mut tick = tokio::time::interval(SERIES_STEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let statistics = workers.collect().await;
        let (series, now) = (series.clone(), Moment::now().seconds());
        // A thousand busy hosts take some tens of milliseconds.
        let added = tokio::task::spawn_blocking(move || series.add(now, &statistics)).await;
        if added.is_err() {
            tracing::error!("a step of the latency series panicked and is left out");
        }
    }
}
