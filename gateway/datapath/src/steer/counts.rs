//! Counters of the kernel program for each host, and which place of its table belongs to which host.
//!
//! Places are given out as hosts get owners and taken back with them, so that there are never more
//! than hosts.

use std::collections::HashMap;

use aya::EbpfError;
use aya::maps::{Array, MapError};
use ebpf::hello::{NAMELESS_KEY, host_key};
use ebpf::{HOST_COUNTS_MAX, HostCounts, MAP_HOST_COUNTS};

use super::tables::table;
use super::{Steering, Unavailable};
use vocabulary::hostname::HostName;

/// The place that counts for all who have none.
const NOBODY: u32 = 0;

/// Who is counted where.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: HashMap<u64, u32>,
    free: Vec<u32>,
    /// The highest place that was ever given out.
    last: u32,
}

impl Places {
    /// The place of a key, and whether it is newly its own.
    fn take(&mut self, key: u64) -> (u32, bool) {
        if let Some(place) = self.taken.get(&key) {
            return (*place, false);
        }
        let next = self.last + 1;
        let place = match self.free.pop() {
            Some(place) => place,
            None if next < HOST_COUNTS_MAX => {
                self.last = next;
                next
            }
            None => return (NOBODY, false),
        };
        self.taken.insert(key, place);
        (place, true)
    }

    pub(super) fn give_back(&mut self, key: u64) {
        self.free.extend(self.taken.remove(&key));
    }
}

impl Steering {
    /// Where a host is counted from now on, with nothing counted yet when it is new.
    pub(super) fn counted_at(&mut self, key: u64) -> Result<u32, Unavailable> {
        let (place, new) = self.places.take(key);
        if new {
            table(&mut self.kernel, MAP_HOST_COUNTS, |map| {
                Array::<_, HostCounts>::try_from(map)?.set(place, HostCounts::default(), 0)
            })?;
        }
        Ok(place)
    }

    /// What was decided about ClientHellos for a host since it has owners; nothing about one that
    /// has none.
    ///
    /// # Errors
    /// [`Unavailable::Refused`] when the kernel does not give the map out.
    pub fn host_counts(&self, host: &HostName) -> Result<HostCounts, Unavailable> {
        self.counts_of(host_key(host.as_str()))
    }

    /// The same about ClientHellos that name no host.
    ///
    /// # Errors
    /// As [`Self::host_counts`].
    pub fn nameless_counts(&self) -> Result<HostCounts, Unavailable> {
        self.counts_of(NAMELESS_KEY)
    }

    fn counts_of(&self, key: u64) -> Result<HostCounts, Unavailable> {
        let Some(place) = self.places.taken.get(&key) else {
            return Ok(HostCounts::default());
        };
        let map = self.kernel.map(MAP_HOST_COUNTS);
        let read = map
            .ok_or(MapError::ElementNotFound)
            .and_then(|map| Array::<_, HostCounts>::try_from(map)?.get(place, 0));
        Ok(read.map_err(EbpfError::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_one_hosts_each_and_come_back() {
        let mut places = Places::default();
        let first = places.take(7);
        assert_eq!(first, (1, true), "the first place is nobody's");
        assert_eq!(places.take(7), (1, false));
        assert_eq!(places.take(8), (2, true));
        places.give_back(7);
        places.give_back(7);
        assert_eq!(places.take(9), (1, true));
        assert_eq!(places.take(7), (3, true));
        for key in 100..100 + u64::from(HOST_COUNTS_MAX) - 4 {
            assert!(places.take(key).1);
        }
        assert_eq!(places.take(10), (NOBODY, false), "all are taken");
    }
}
