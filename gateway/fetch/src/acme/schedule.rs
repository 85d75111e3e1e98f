//! When a host's certificate is asked for: pure, from what is known of it and the time.
//!
//! Owns the pauses after failures, the time of renewal, and how many orders there may be. Times are
//! the clock's, seconds since the epoch, because they outlive the process.

use std::time::{Duration, Instant};

use crate::limits::{ACME_ASKED_PAUSE, ACME_BURST_SHARE, ACME_RETRY_MAX, ACME_RETRY_MIN};

/// What is known of a host.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Situation {
    /// From when until when the certificate is valid that ACME has brought.
    pub(super) certificate: Option<(i64, i64)>,
    /// When the last order was begun, and how many in a row brought nothing.
    pub(super) order: Option<(i64, u32)>,
    /// When the server suggests to renew (RFC 9773).
    pub(super) window: Option<(i64, i64)>,
    /// A process before this one has left it in the middle.
    pub(super) is_left: bool,
    /// The server has asked to be left alone until then.
    pub(super) left_alone_until: Option<i64>,
    /// Somebody has asked for a new certificate now.
    pub(super) is_asked_for: bool,
    /// From 0 to 1, the same for the life of a certificate.
    pub(super) chance: f64,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "seconds of a certificate's life, far below 2^53"
)]
fn part(seconds: i64, of: f64) -> i64 {
    (seconds as f64 * of) as i64
}

/// The pause after so many failures in a row: four times as long each time, so that an hour has four
/// attempts at the most. Let's Encrypt bears five an hour for a name.
fn pause_sec(failures: u32, chance: f64) -> i64 {
    let (min, max) = (ACME_RETRY_MIN.as_secs(), ACME_RETRY_MAX.as_secs());
    let pause = min.saturating_mul(4_u64.saturating_pow(failures.saturating_sub(1)));
    let pause = i64::try_from(pause.min(max)).unwrap_or(i64::MAX);
    pause + part(pause, 0.2 * chance)
}

/// The pause after an order whose certificate is due at once: as after failures, or a third of its life where
/// that is shorter.
fn pause_of_due(life: i64) -> i64 {
    let seconds = |pause: Duration| i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
    (life / 3).clamp(seconds(ACME_RETRY_MIN), seconds(ACME_RETRY_MAX))
}

/// When the certificate is renewed: in the window that the server suggests, else when a third of its
/// life is left, or up to a twentieth earlier. Whatever the server suggests, a tenth is left.
fn renewal_sec((from, until): (i64, i64), window: Option<(i64, i64)>, chance: f64) -> i64 {
    let life = until.saturating_sub(from).max(0);
    let latest = until.saturating_sub(life / 10);
    let window = window.filter(|(start, end)| start < end);
    let wanted = match window {
        Some((start, end)) => start.saturating_add(part(end.saturating_sub(start), chance)),
        None => until
            .saturating_sub(life / 3)
            .saturating_sub(part(life, 0.05 * chance)),
    };
    wanted.min(latest)
}

impl Situation {
    /// When the next order is due; in the past: now.
    pub(super) fn due_sec(&self) -> i64 {
        let renewal = match self.certificate {
            Some(validity) => renewal_sec(validity, self.window, self.chance),
            None => i64::MIN,
        };
        if self.is_left {
            return i64::MIN;
        }
        let wanted = if self.is_asked_for { i64::MIN } else { renewal };
        let pause = match self.order {
            // Even who asks for it waits.
            Some((begun, _)) if self.is_asked_for => {
                let pause = i64::try_from(ACME_ASKED_PAUSE.as_secs());
                begun.saturating_add(pause.unwrap_or(i64::MAX))
            }
            Some((begun, failures)) if failures > 0 => {
                begun.saturating_add(pause_sec(failures, self.chance))
            }
            // What was due when it was got would be due again and again: a clock that is ahead, a window of
            // before, a CA whose own certificate ends.
            Some((begun, _)) if renewal <= begun => {
                let life = self
                    .certificate
                    .map_or(0, |(from, until)| until.saturating_sub(from));
                begun.saturating_add(pause_of_due(life))
            }
            _ => i64::MIN,
        };
        let left_alone = self.left_alone_until.unwrap_or(i64::MIN);
        wanted.max(pause).max(left_alone)
    }

    /// When the certificate is to be renewed, if there is one.
    pub(super) fn renewal_sec(&self) -> Option<i64> {
        let validity = self.certificate?;
        Some(renewal_sec(validity, self.window, self.chance))
    }
}

/// How many orders may be begun: so many an hour, of which a part at once.
#[derive(Debug)]
pub(super) struct Allowance {
    tokens: f64,
    at: Instant,
}

impl Allowance {
    /// With `begun` orders behind it that were begun lately.
    pub(super) fn new(now: Instant, per_hour: u32, begun: usize) -> Self {
        let begun = f64::from(u32::try_from(begun).unwrap_or(u32::MAX));
        Self {
            tokens: (Self::most(per_hour) - begun).max(0.0),
            at: now,
        }
    }

    fn most(per_hour: u32) -> f64 {
        (f64::from(per_hour) / f64::from(ACME_BURST_SHARE)).max(1.0)
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant, per_hour: u32) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let grown = self.tokens + passed * f64::from(per_hour) / 3600.0;
        self.tokens = grown.min(Self::most(per_hour));
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_host_without_a_certificate_is_tried_at_once_and_then_less_and_less() {
        let first = Situation::default();
        assert_eq!(first.due_sec(), i64::MIN);
        for (failures, pause) in [(1, 60), (2, 240), (3, 960), (4, 3840), (5, 15_360)] {
            let failed = Situation {
                order: Some((1_000, failures)),
                ..first
            };
            assert_eq!(failed.due_sec(), 1_000 + pause, "{failures}");
        }
        for failures in [6, 60, u32::MAX] {
            let failed = Situation {
                order: Some((0, failures)),
                ..first
            };
            assert_eq!(failed.due_sec(), 12 * 3600, "{failures}");
        }
    }

    #[test]
    fn what_was_left_goes_on_at_once_and_a_server_is_left_alone() {
        let left = Situation {
            order: Some((1_000, 3)),
            is_left: true,
            ..Situation::default()
        };
        assert_eq!(left.due_sec(), i64::MIN);
        let asked = Situation {
            order: Some((1_000, 1)),
            left_alone_until: Some(90_000),
            is_asked_for: true,
            ..Situation::default()
        };
        assert_eq!(asked.due_sec(), 90_000);
    }

    #[test]
    fn a_certificate_is_renewed_in_its_last_third_or_in_the_window() {
        let at = |window, chance| Situation {
            certificate: Some((0, 90 * DAY)),
            order: Some((0, 0)),
            window,
            chance,
            ..Situation::default()
        };
        assert_eq!(at(None, 0.0).due_sec(), 60 * DAY);
        assert_eq!(at(None, 1.0).due_sec(), 60 * DAY - 90 * DAY / 20);
        let window = Some((50 * DAY, 52 * DAY));
        assert_eq!(at(window, 0.0).due_sec(), 50 * DAY);
        assert_eq!(at(window, 0.5).due_sec(), 51 * DAY);
        // It is to be revoked: the window is over, or was before there was a certificate.
        assert_eq!(at(Some((1, 2)), 0.0).due_sec(), 1);
        assert_eq!(at(Some((-2, -1)), 0.0).due_sec(), 12 * 3600);
        // It was due when it came, by a clock that is ahead, and has not long to live anyhow.
        for (life, pause) in [
            (90 * DAY, 12 * 3600),
            (3 * 3600, 3600),
            (90, 60),
            (0, 60),
            (-1, 60),
        ] {
            let ahead = Situation {
                certificate: Some((0, life)),
                order: Some((80 * DAY, 0)),
                ..Situation::default()
            };
            assert_eq!(ahead.due_sec(), 80 * DAY + pause, "{life}");
        }
        // What makes no sense, or comes too late.
        assert_eq!(at(Some((5, 5)), 0.0).due_sec(), 60 * DAY);
        assert_eq!(at(Some((7, 5)), 0.0).due_sec(), 60 * DAY);
        let late = Some((100 * DAY, 200 * DAY));
        assert_eq!(at(late, 0.5).due_sec(), 81 * DAY);
        // One that failed to be renewed waits, and one that is asked for does not wait for long.
        let failed = Situation {
            order: Some((60 * DAY, 3)),
            ..at(None, 0.0)
        };
        assert_eq!(failed.due_sec(), 60 * DAY + 960);
        let asked = Situation {
            is_asked_for: true,
            ..failed
        };
        assert_eq!(asked.due_sec(), 60 * DAY + 15);
        let fresh = Situation {
            order: Some((0, 0)),
            ..asked
        };
        assert_eq!(fresh.due_sec(), 15);
    }

    #[test]
    fn orders_come_at_a_bounded_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start, 40, 0);
        let taken =
            |allowance: &mut Allowance, now| (0..100).filter(|_| allowance.take(now, 40)).count();
        assert_eq!(taken(&mut allowance, start), 10);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(89)), 0);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(180)), 2);
        assert_eq!(
            taken(&mut allowance, start + Duration::from_secs(100_000)),
            10
        );
        // A restart does not begin afresh.
        let mut again = Allowance::new(start, 40, 9);
        assert_eq!(taken(&mut again, start), 1);
        let mut least = Allowance::new(start, 1, 0);
        assert!(least.take(start, 1));
        assert!(!least.take(start + Duration::from_secs(3_599), 1));
    }

    proptest! {
        #[test]
        fn no_times_are_too_strange(
            certificate in proptest::option::of((any::<i64>(), any::<i64>())),
            order in proptest::option::of((any::<i64>(), any::<u32>())),
            window in proptest::option::of((any::<i64>(), any::<i64>())),
            is_asked_for in any::<bool>(),
            chance in 0.0..1.0_f64,
        ) {
            let found = Situation {
                certificate, order, window, is_asked_for, chance, ..Situation::default()
            };
            if let Some((begun, failures)) = order.filter(|(_, failures)| *failures > 0) {
                let least = if is_asked_for { 15 } else { pause_sec(failures, 0.0) };
                prop_assert!(found.due_sec() >= begun.saturating_add(least));
            }
            if let (Some((from, until)), Some(renewal)) = (certificate, found.renewal_sec())
                && from <= until
            {
                prop_assert!(renewal <= until);
            }
        }
    }
}
