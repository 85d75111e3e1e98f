//! Exemplars: of requests that took about so long, the last one whose trace is sampled.
//!
//! A few places a host, made with the first one; reads no clock.

use std::time::{Duration, SystemTime};

/// Kinds of latency, of which each is four times as long as the one before: from a quarter of a
/// millisecond to more than a minute.
const PLACES: usize = 10;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    /// How long it took.
    pub took: Duration,
    /// Its trace.
    pub trace: [u8; 16],
    /// When it came.
    pub time: SystemTime,
}

/// The last of each kind.
#[derive(Debug, Clone, Default)]
pub struct Exemplars([Option<Exemplar>; PLACES]);

impl Exemplars {
    /// Notes one.
    pub fn note(&mut self, exemplar: Exemplar) {
        let quarters = exemplar.took.as_micros() / 250;
        let place = quarters.checked_ilog2().map_or(0, |power| power / 2 + 1);
        let place = usize::try_from(place).unwrap_or(PLACES).min(PLACES - 1);
        if let Some(slot) = self.0.get_mut(place) {
            *slot = Some(exemplar);
        }
    }

    /// Takes those of others that are younger.
    pub fn add(&mut self, others: &Self) {
        for (mine, other) in self.0.iter_mut().zip(&others.0) {
            let is_younger = |other: &Exemplar| mine.is_none_or(|mine| mine.time < other.time);
            if let Some(other) = other.filter(is_younger) {
                *mine = Some(other);
            }
        }
    }

    /// Those that there are, the fastest first.
    pub fn iter(&self) -> impl Iterator<Item = &Exemplar> {
        self.0.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn exemplar(micros: u64, second: u64) -> Exemplar {
        Exemplar {
            took: Duration::from_micros(micros),
            trace: [1; 16],
            time: UNIX_EPOCH + Duration::from_secs(second),
        }
    }

    #[test]
    fn the_last_of_each_kind_stays() {
        let mut mine = Exemplars::default();
        for micros in [
            0,
            249,
            250,
            999,
            1_000,
            3_999,
            4_000,
            60_000_000,
            600_000_000,
        ] {
            mine.note(exemplar(micros, 1));
        }
        mine.note(Exemplar {
            took: Duration::MAX,
            ..exemplar(0, 2)
        });
        let took: Vec<_> = mine.iter().map(|one| one.took.as_micros()).collect();
        assert_eq!(took, [249, 999, 3_999, 4_000, Duration::MAX.as_micros()]);
        let mut others = Exemplars::default();
        others.note(exemplar(10, 0));
        others.note(exemplar(300, 9));
        mine.add(&others);
        let took: Vec<_> = mine.iter().map(|one| one.took.as_micros()).collect();
        assert_eq!(took[..2], [249, 300], "the younger one of each");
    }
}
