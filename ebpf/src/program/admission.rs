//! Admission before a socket: budgets, blocked addresses, and telling of what was decided.
//!
//! Everything here is off until user space fills in an [`Admission`]. Two CPUs that spend of one
//! budget at the same moment may spend once too often: budgets keep floods out, they do not count
//! exactly.

use super::maps::{POSTERN_BLOCKS, POSTERN_HOST_BUDGETS, POSTERN_SOURCE_BUDGETS, POSTERN_TRACE};
use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::maps::lpm_trie::Key;
use ebpf::packet::{Family, Flow};
use ebpf::{Admission, BLOCK_ZONE_BITS, BlockKey, Decided, Traced, spend};

/// Bits of zone and address: exactly this client.
const WHOLE: u32 = BLOCK_ZONE_BITS + 128;

/// Whether the client's prefix has budget left for a connection, which is then spent.
#[inline(always)]
pub(super) fn source_may(admission: &Admission, flow: &Flow, family: Family) -> bool {
    if admission.source_cost_ns == 0 {
        return true;
    }
    let prefix = admission.source_prefix(flow, family);
    may(
        &POSTERN_SOURCE_BUDGETS,
        prefix,
        admission.source_cost_ns,
        admission.source_burst_ns,
    )
}

/// Whether the host has budget left for a connection, which is then spent.
#[inline(always)]
pub(super) fn host_may(admission: &Admission, host: u64) -> bool {
    admission.host_cost_ns == 0
        || may(
            &POSTERN_HOST_BUDGETS,
            host,
            admission.host_cost_ns,
            admission.host_burst_ns,
        )
}

#[inline(always)]
fn may(budgets: &LruHashMap<u64, u64>, key: u64, cost: u64, burst: u64) -> bool {
    // SAFETY: the helper takes nothing and reads a clock.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: an element of an LRU map may be reused while it is read; then it is another one's
    // budget, once.
    let whole_at = unsafe { budgets.get(key) }.copied().unwrap_or(0);
    let Some(whole_at) = spend(whole_at, now, cost, burst) else {
        return false;
    };
    // Without room for it the budget is not kept, and no connection is turned away for that.
    budgets.insert(key, whole_at, 0).ok();
    true
}

/// Whether the zone blocks the client's address.
#[inline(always)]
pub(super) fn is_blocked(admission: &Admission, zone: u32, flow: &Flow) -> bool {
    if admission.blocks == 0 || zone == 0 {
        return false;
    }
    let key = BlockKey {
        zone_be: zone.to_be(),
        address_be: flow.source_be,
    };
    POSTERN_BLOCKS.get(Key::new(WHOLE, key)).is_some()
}

/// Reports a decision, if a trace is open and the sampling takes it.
#[inline(always)]
pub(super) fn trace(admission: &Admission, event: Traced) {
    if admission.trace_every == 0 {
        return;
    }
    // SAFETY: the helper takes nothing and gives a number.
    if unsafe { bpf_get_prandom_u32() } % admission.trace_every == 0 {
        // A full ring means that the reader is slow, which is the reader's affair.
        POSTERN_TRACE.output::<Traced>(event, 0).ok();
    }
}

/// A decision to be told.
#[inline(always)]
pub(super) fn event(flow: Flow, decided: Decided, dropped: bool) -> Traced {
    Traced {
        host: 0,
        wildcard: 0,
        flow,
        decided: decided as u32,
        worker: 0,
        dropped: dropped as u32,
    }
}
