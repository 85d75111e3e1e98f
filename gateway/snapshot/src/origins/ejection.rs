//! Ejection: an address that fails again and again gets no requests for a while.
//!
//! Owns how long, and how many may be out at once. That bound holds however many workers see
//! failures at the same moment: one decides, the others go on, and the next failure asks again.

use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use super::OriginGroup;
use super::state::AddressState;

/// When an address that fails gets no requests, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// So many failures in a row; 0 ejects none.
    pub failures: u32,
    /// How long the first time. Each further time in a row doubles it.
    pub time: Duration,
    /// How long at most.
    pub time_max: Duration,
    /// So many addresses of a hundred may be out at once, and one at least of several; never all.
    /// Those that health checks have taken out are counted.
    pub max_percent: u8,
}

impl Default for Ejection {
    /// Three failures, ten seconds, five minutes, half of the addresses.
    fn default() -> Self {
        Self {
            failures: 3,
            time: Duration::from_secs(10),
            time_max: Duration::from_secs(5 * 60),
            max_percent: 50,
        }
    }
}

impl Ejection {
    /// How many of so many addresses may be out at once.
    #[must_use]
    pub fn out_max(&self, addresses: usize) -> usize {
        let share = addresses * usize::from(self.max_percent) / 100;
        share.max(1).min(addresses.saturating_sub(1))
    }

    /// How long an address is out that was out so many times in a row before.
    #[must_use]
    pub fn time_after(&self, in_a_row: u32) -> Duration {
        let factor = 1_u32.checked_shl(in_a_row).unwrap_or(u32::MAX);
        self.time.saturating_mul(factor).min(self.time_max)
    }

    /// Ejects an address of this origin, unless it is out, or too many are. How long it is out.
    pub(super) fn eject(
        &self,
        of: &OriginGroup,
        address: &AddressState,
        now: Instant,
    ) -> Option<Duration> {
        if of.state.deciding.swap(true, Acquire) {
            return None;
        }
        let out = of.addresses.len() - of.good(now).count_ones() as usize;
        let may = address.is_good(now) && out < self.out_max(of.addresses.len());
        let time = may.then(|| self.time_after(address.in_a_row()));
        if let Some(time) = time {
            address.leave(time, now);
        }
        of.state.deciding.store(false, Release);
        time
    }
}
