//! The socket lookup: a segment whose connection was noted goes to the noted listener.

use super::maps::{POSTERN_LISTENERS, POSTERN_NOTES, POSTERN_PLACED, counters};
use aya_ebpf::bindings::BPF_SK_LOOKUP_F_NO_REUSEPORT;
use aya_ebpf::programs::SkLookupContext;
use ebpf::packet::{Flow, mapped};
use ebpf::{noted, placed_mark};

/// AF_INET and IPPROTO_TCP, as the kernel numbers them.
const FAMILY_IPV4: u32 = 2;
const PROTOCOL_TCP: u32 = 6;

/// Reads one field of the context. Volatile, because the kernel only allows the context to be read
/// at offsets written in the instruction, and LLVM would rather choose between two addresses and
/// read once.
macro_rules! field {
    ($context:ident.$($field:tt)+) => {{
        // SAFETY: the kernel gives the program a valid, aligned context for its whole run.
        unsafe { (&raw const (*$context).$($field)+).read_volatile() }
    }};
}

/// Reads an address, word by word.
macro_rules! words {
    ($context:ident.$field:ident) => {
        [
            field!($context.$field[0]),
            field!($context.$field[1]),
            field!($context.$field[2]),
            field!($context.$field[3]),
        ]
    };
}

/// Assigns the noted listener, if there is a note.
#[inline(always)]
pub(super) fn segment(context: &SkLookupContext) {
    let lookup = context.lookup;
    if field!(lookup.protocol) != PROTOCOL_TCP {
        return;
    }
    // Both families' fields, of which one is zero: reads in two branches would be merged into one.
    let (remote_ip4, local_ip4) = (field!(lookup.remote_ip4), field!(lookup.local_ip4));
    let (remote_ip6, local_ip6) = (words!(lookup.remote_ip6), words!(lookup.local_ip6));
    let (source_be, destination_be) = if field!(lookup.family) == FAMILY_IPV4 {
        (mapped(remote_ip4), mapped(local_ip4))
    } else {
        (remote_ip6, local_ip6)
    };
    let flow = Flow {
        source_be,
        destination_be,
        source_port_be: field!(lookup.remote_port),
        destination_port_be: (field!(lookup.local_port) as u16).to_be(),
    };
    let (place, mark) = placed_mark(&flow);
    let Some(slot) = POSTERN_NOTES.get_ptr_mut(place) else {
        return;
    };
    // SAFETY: an element of an array map lives as long as the map; an aligned word is read whole.
    let Some(index) = noted(unsafe { slot.read_volatile() }, mark) else {
        return;
    };
    // Used once: when the client takes its port again, an old note must not speak for the new
    // connection. SAFETY: as above, and written whole; were another CPU to note a connection here
    // meanwhile, it loses its note.
    unsafe { slot.write_volatile(0) };
    let flags = u64::from(BPF_SK_LOOKUP_F_NO_REUSEPORT);
    let placed = POSTERN_LISTENERS
        .redirect_sk_lookup(context, index, flags)
        .is_ok();
    if placed && let Some(slot) = POSTERN_PLACED.get_ptr_mut(place) {
        // SAFETY: an element of an array map lives as long as the map; an aligned word is written
        // whole.
        unsafe { slot.write_volatile(u64::from(mark)) };
    }
    if let Some(counters) = counters() {
        if placed {
            counters.placed += 1;
        } else {
            counters.homeless += 1;
        }
    }
}
