//! The maps, under the names and with the sizes that `ebpf`'s library states.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockMap},
};
use ebpf::cursor::Memory;
use ebpf::reply::REPLY_WORDS;
use ebpf::{
    ADDRESSES_MAX, Admission, Answering, BLOCKS_MAX, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC,
    BUDGETS_MAX, BlockKey, Counters, HELD_MAX, HOST_COUNTS_MAX, HOSTS_MAX, HostCounts,
    LISTENERS_MAX, LISTENS_MAX, Listening, NOTES_MAX, Owners, PARTS_MAX, PLACED_MAX, PORTS_MAX,
    Part, TRACE_SIZE,
};

/// [`ebpf::MAP_COUNTERS`].
#[map]
static POSTERN_COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// [`ebpf::MAP_PORTS`].
#[map]
pub(super) static POSTERN_PORTS: Array<u32> = Array::with_max_entries(PORTS_MAX, 0);

/// [`ebpf::MAP_LISTENING`].
#[map]
pub(super) static POSTERN_LISTENING: Array<Listening> = Array::with_max_entries(LISTENS_MAX * 2, 0);

/// [`ebpf::MAP_PLACED`].
#[map]
pub(super) static POSTERN_PLACED: Array<u64> = Array::with_max_entries(PLACED_MAX, BPF_F_MMAPABLE);

/// [`ebpf::MAP_HOSTS`].
#[map]
pub(super) static POSTERN_HOSTS: HashMap<u64, Owners> =
    HashMap::with_max_entries(HOSTS_MAX, BPF_F_NO_PREALLOC);

/// [`ebpf::MAP_HOST_COUNTS`].
#[map]
static POSTERN_HOST_COUNTS: Array<HostCounts> = Array::with_max_entries(HOST_COUNTS_MAX, 0);

/// [`ebpf::MAP_LISTENERS`].
#[map]
pub(super) static POSTERN_LISTENERS: SockMap = SockMap::with_max_entries(LISTENERS_MAX, 0);

/// Listeners by connection ([`ebpf::note`]), each at the place its flow's hash says, from the
/// ClientHello's frame until its socket is looked for. An array, because a hash table that evicts
/// costs more than all the rest together.
#[map]
pub(super) static POSTERN_NOTES: Array<u64> = Array::with_max_entries(NOTES_MAX, 0);

/// Connections whose bare ACK was held back, and when ([`ebpf::held`]), each at the place its
/// flow's hash says; a newer one with the same place displaces it.
#[map]
pub(super) static POSTERN_HELD: Array<u64> = Array::with_max_entries(HELD_MAX, 0);

/// ClientHellos of which a part has gone by ([`ebpf::Part`]), each at the place its flow's hash says.
#[map]
pub(super) static POSTERN_PARTS: Array<Part> = Array::with_max_entries(PARTS_MAX, 0);

/// [`ebpf::MAP_ADMISSION`].
#[map]
pub(super) static POSTERN_ADMISSION: Array<Admission> = Array::with_max_entries(1, 0);

/// [`ebpf::MAP_HOST_BUDGETS`].
#[map]
pub(super) static POSTERN_HOST_BUDGETS: LruHashMap<u64, u64> =
    LruHashMap::with_max_entries(BUDGETS_MAX, 0);

/// [`ebpf::MAP_SOURCE_BUDGETS`].
#[map]
pub(super) static POSTERN_SOURCE_BUDGETS: LruHashMap<u64, u64> =
    LruHashMap::with_max_entries(BUDGETS_MAX, 0);

/// [`ebpf::MAP_BLOCKS`].
#[map]
pub(super) static POSTERN_BLOCKS: LpmTrie<BlockKey, u32> =
    LpmTrie::with_max_entries(BLOCKS_MAX, BPF_F_NO_PREALLOC);

/// [`ebpf::MAP_TRACE`].
#[map]
pub(super) static POSTERN_TRACE: RingBuf = RingBuf::with_byte_size(TRACE_SIZE, 0);

/// [`ebpf::MAP_ANSWERING`].
#[map]
pub(super) static POSTERN_ANSWERING: Array<Answering> = Array::with_max_entries(1, 0);

/// [`ebpf::MAP_ADDRESSES`].
#[map]
pub(super) static POSTERN_ADDRESSES: HashMap<[u32; 4], u32> =
    HashMap::with_max_entries(ADDRESSES_MAX, 0);

/// Where the answer to a SYN is put together.
#[map]
pub(super) static POSTERN_REPLY: PerCpuArray<[u32; REPLY_WORDS]> =
    PerCpuArray::with_max_entries(1, 0);

/// Where a frame is copied to. Too large for the stack, and only one frame at a time is on a CPU.
#[map]
pub(super) static POSTERN_WINDOW: PerCpuArray<Memory> = PerCpuArray::with_max_entries(1, 0);

/// Where numbers go to be forgotten: see [`forgotten`].
#[map]
static POSTERN_NUMBERS: PerCpuArray<[u64; 4]> = PerCpuArray::with_max_entries(1, 0);

/// The same numbers, of which the verifier forgets all it knew.
///
/// It follows every way through the program by itself until two of them know the same. Header
/// offsets are different constants on every way through the headers, and so all that comes after
/// would be followed for each. What is read from a map can be anything: one way remains.
#[inline(always)]
pub(super) fn forgotten(numbers: [usize; 4]) -> Option<[usize; 4]> {
    let place = POSTERN_NUMBERS.get_ptr_mut(0)?;
    // SAFETY: the pointer is this CPU's element, aligned, and no other code's while the program runs.
    unsafe { place.write_volatile(numbers.map(|number| number as u64)) };
    // SAFETY: as above.
    let numbers = unsafe { place.read_volatile() };
    Some(numbers.map(|number| number as usize))
}

/// Counts one at `place` of the hosts' counts, in the field that is chosen.
#[inline(always)]
pub(super) fn count_host(place: u32, field: impl FnOnce(*mut HostCounts) -> *mut u64) {
    if let Some(counts) = POSTERN_HOST_COUNTS.get_ptr_mut(place) {
        // The target's core library has no atomic addition; the machine has. SAFETY: one
        // instruction on an aligned word of an array map's element, which lives as long as the map;
        // every writer that writes to it while it is in use does so atomically.
        unsafe {
            core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) field(counts), in(reg) 1_u64, options(nostack));
        }
    }
}

/// This CPU's counters.
#[inline(always)]
pub(super) fn counters() -> Option<&'static mut Counters> {
    let counters = POSTERN_COUNTERS.get_ptr_mut(0)?;
    // SAFETY: the pointer is this CPU's element of the array and lives as long as the map. Programs
    // of one CPU do not interrupt each other in the receive path, so no other code holds it; were
    // it otherwise, a count would be off by one.
    Some(unsafe { &mut *counters })
}
