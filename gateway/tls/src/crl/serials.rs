//! Many serial numbers in little memory.
//!
//! Numbers of equal length stand sorted behind one another without anything in between, so that a
//! look-up is a bisection and half a million of 16 bytes take 8 MB.

/// Longest serial number in bytes (RFC 5280 §4.1.2.2).
const SERIAL_BYTES_MAX: usize = 20;

/// A set of serial numbers, each without leading zeros.
#[derive(Debug)]
pub(super) struct Serials {
    /// By length; the numbers of one length, sorted, one behind the other.
    by_length: [Box<[u8]>; SERIAL_BYTES_MAX + 1],
    /// Zero has no bytes left.
    zero: bool,
    count: usize,
}

impl Serials {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_length.iter().map(|numbers| numbers.len()).sum()
    }

    pub(super) fn contains(&self, serial: &[u8]) -> bool {
        if serial.is_empty() {
            return self.zero;
        }
        let Some(numbers) = self.by_length.get(serial.len()) else {
            return false;
        };
        let (mut low, mut high) = (0, numbers.len() / serial.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let start = middle * serial.len();
            let Some(found) = numbers.get(start..start + serial.len()) else {
                return false;
            };
            match found.cmp(serial) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }
}

/// Gathers serial numbers in any order.
#[derive(Default)]
pub(super) struct Collector {
    by_length: [Vec<u8>; SERIAL_BYTES_MAX + 1],
    zero: bool,
}

impl Collector {
    pub(super) fn is_empty(&self) -> bool {
        !self.zero && self.by_length.iter().all(Vec::is_empty)
    }

    /// Adds a number; `false` when it is longer than a serial number can be.
    pub(super) fn add(&mut self, serial: &[u8]) -> bool {
        if serial.is_empty() {
            self.zero = true;
            return true;
        }
        match self.by_length.get_mut(serial.len()) {
            Some(numbers) => {
                numbers.extend_from_slice(serial);
                true
            }
            None => false,
        }
    }

    pub(super) fn finish(self) -> Serials {
        let mut count = usize::from(self.zero);
        let mut length = 0;
        let by_length = self.by_length.map(|numbers| {
            let sorted = sort(numbers, length);
            count += sorted.len().checked_div(length).unwrap_or(0);
            length += 1;
            sorted
        });
        Serials {
            by_length,
            zero: self.zero,
            count,
        }
    }
}

/// Sorts numbers of one length and takes out those that are there twice.
fn sort(numbers: Vec<u8>, length: usize) -> Box<[u8]> {
    if length == 0 {
        return Box::default();
    }
    let mut each: Vec<&[u8]> = numbers.chunks_exact(length).collect();
    each.sort_unstable();
    each.dedup();
    each.concat().into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_a_hash_set(numbers in prop::collection::vec(prop::collection::vec(0_u8..4, 0..6), 0..60), asked in prop::collection::vec(prop::collection::vec(0_u8..4, 0..6), 0..60)) {
            let mut collector = Collector::default();
            let mut set = HashSet::new();
            for number in &numbers {
                prop_assert!(collector.add(number));
                set.insert(number.clone());
            }
            let serials = collector.finish();
            prop_assert_eq!(serials.len(), set.len());
            for number in numbers.iter().chain(&asked) {
                prop_assert_eq!(serials.contains(number), set.contains(number), "{:?}", number);
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(Collector::default().add(&[1; 20]));
        assert!(!Collector::default().add(&[1; 21]));
        assert!(!Collector::default().finish().contains(&[1; 21]));
    }
}
