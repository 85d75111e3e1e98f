//! A request at its address until its answer is over: how that ends says how the address is.

use std::sync::Arc;
use std::time::Instant;

use snapshot::origins::state::OpenRequest;
use snapshot::origins::{Failure, OriginGroup};

/// A request that is open at an address, for as long as this lives.
#[derive(Debug)]
pub struct Stay {
    _open: OpenRequest,
    group: Arc<OriginGroup>,
    place: usize,
    /// What the address answers: another one may have answered in its place.
    is_its: bool,
}

impl Stay {
    pub(super) fn new(
        open: OpenRequest,
        (group, place): (&Arc<OriginGroup>, usize),
        is_its: bool,
    ) -> Self {
        Self {
            _open: open,
            group: group.clone(),
            place,
            is_its,
        }
    }

    /// The answer came to its end.
    pub fn ended_well(&self, now: Instant) {
        if let Some(address) = self.group.addresses.get(self.place)
            && self.is_its
        {
            address.state.ended_well(now);
        }
    }

    /// The answer broke off, or stopped in the middle.
    pub fn broke_off(&self, now: Instant) {
        if self.is_its {
            // Who looks after origins tells of it.
            let _out_for = self.group.failed(self.place, Failure::Cut, now);
        }
    }
}
