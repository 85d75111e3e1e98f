//! Many serial numbers in little memory.
//!
//! Numbers of equal length stand sorted behind one another without anything in between, so that a
//! look-up is a bisection and half a million of 16 bytes take 8 MB.

use crate::ids::Serial;
use crate::limits::SERIAL_BYTES_MAX;

/// A set of serial numbers.
#[derive(Debug)]
pub(super) struct Serials {
    /// By length; the numbers of one length, sorted, one behind the other.
    by_length: [Box<[u8]>; SERIAL_BYTES_MAX + 1],
    count: usize,
}

impl Serials {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.by_length.iter().map(|numbers| numbers.len()).sum()
    }

    pub(super) fn contains(&self, serial: &Serial) -> bool {
        let serial = serial.bytes();
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
pub(super) struct Collector([Vec<u8>; SERIAL_BYTES_MAX + 1]);

impl Default for Collector {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }
}

impl Collector {
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(Vec::is_empty)
    }

    pub(super) fn add(&mut self, serial: &Serial) {
        if let Some(numbers) = self.0.get_mut(serial.bytes().len()) {
            numbers.extend_from_slice(serial.bytes());
        }
    }

    pub(super) fn finish(self) -> Serials {
        let mut count = 0;
        let mut length = 0;
        let by_length = self.0.map(|numbers| {
            let sorted = sort(numbers, length);
            count += sorted.len().checked_div(length).unwrap_or(0);
            length += 1;
            sorted
        });
        Serials { by_length, count }
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
        fn as_a_hash_set(
            numbers in prop::collection::vec(prop::collection::vec(0_u8..4, 1..6), 0..60),
            asked in prop::collection::vec(prop::collection::vec(0_u8..4, 1..6), 0..60),
        ) {
            let mut collector = Collector::default();
            let mut set = HashSet::new();
            let serial = |number: &Vec<u8>| Serial::of_integer(number).unwrap();
            for number in numbers.iter().map(serial) {
                collector.add(&number);
                set.insert(number);
            }
            let serials = collector.finish();
            prop_assert_eq!(serials.len(), set.len());
            for number in numbers.iter().chain(&asked).map(serial) {
                prop_assert_eq!(serials.contains(&number), set.contains(&number), "{:?}", number);
            }
        }
    }
}
