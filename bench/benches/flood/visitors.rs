//! Visitors: clients that come at their time, whatever became of those before them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::{Gateway, Network};

/// What a visitor waits before it goes away: longer than the second SYN's second and the third
/// one's two more.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of visitors.
#[derive(Clone, Default)]
pub(crate) struct Visits {
    /// How many came.
    pub(crate) offered: usize,
    /// From the time at which each was to come until it had its answer.
    pub(crate) times: Vec<Duration>,
}

impl Visits {
    /// Adds others.
    pub(crate) fn add(&mut self, other: Self) {
        self.offered += other.offered;
        self.times.extend(other.times);
    }

    /// Part of them that got an answer, in percent.
    pub(crate) fn share(&self) -> f64 {
        100.0 * self.times.len() as f64 / self.offered.max(1) as f64
    }

    /// The time within which so many of a hundred had their answer, in milliseconds; those that got
    /// none count as the longest.
    pub(crate) fn percentile(&self, percent: usize) -> String {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = (self.offered * percent).div_ceil(100).saturating_sub(1);
        times.get(at).map_or_else(
            || format!(">{}", PATIENCE.as_millis()),
            |time| format!("{:.1}", time.as_secs_f64() * 1e3),
        )
    }

    /// Share, median and 99th percentile, as tables have them.
    pub(crate) fn line(&self) -> String {
        format!(
            "{:6.2}% {:>7} {:>7}",
            self.share(),
            self.percentile(50),
            self.percentile(99)
        )
    }
}

/// `rate` visitors of `host` a second for `seconds`: a connection, a full handshake of one segment,
/// a request.
pub(crate) fn come(
    network: &Network,
    gateway: &Arc<Gateway>,
    host: String,
    rate: u32,
    seconds: u32,
) -> Visits {
    let gateway = gateway.clone();
    network.client.block_on(move || async move {
        let began = Instant::now();
        let offered = rate * seconds;
        let visitors: Vec<_> = (0..offered)
            .map(|number| {
                let client = gateway.client(&host).groups("X25519");
                let time = began + Duration::from_secs(1) * number / rate;
                tokio::spawn(async move {
                    tokio::time::sleep_until(time.into()).await;
                    let answer = tokio::time::timeout(PATIENCE, client.get("/visit")).await;
                    let good = matches!(answer, Ok(Ok(answer)) if answer.status == 200);
                    good.then(|| time.elapsed())
                })
            })
            .collect();
        let mut visits = Visits {
            offered: visitors.len(),
            times: Vec::new(),
        };
        for visitor in visitors {
            visits.times.extend(visitor.await.ok().flatten());
        }
        visits
    })
}
