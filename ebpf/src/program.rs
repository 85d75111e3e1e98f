//! The XDP program: its maps, its entry point, its one verdict. What a packet means is `packet` and `hello`.
//!
//! It passes every frame and counts it. Frames are never changed and never dropped.

#![expect(
    unsafe_code,
    reason = "maps are raw kernel memory, and the kernel finds the program by symbol and section"
)]
// `reason`: `no_mangle` and `link_section` are written by aya's macros too.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::PerCpuArray,
    programs::XdpContext,
};
use ebpf::{ABI_MARK, Counters};

/// Named by [`ebpf::MAP_COUNTERS`].
#[map]
static POSTERN_COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Read by the loader out of the object file, never in the kernel.
#[unsafe(link_section = "postern_abi")]
#[unsafe(no_mangle)]
static POSTERN_ABI: [u8; 24] = ABI_MARK;

/// The kernel lends some helpers only to programs under a licence it knows to be compatible with its own.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Runs once for every frame an interface receives.
#[xdp]
fn postern_xdp(context: XdpContext) -> u32 {
    count(&context);
    xdp_action::XDP_PASS
}

#[inline(always)]
fn count(context: &XdpContext) {
    let Some(counters) = POSTERN_COUNTERS.get_ptr_mut(0) else {
        return;
    };
    let size = context.data_end().wrapping_sub(context.data()) as u64;
    // SAFETY: the pointer is this CPU's element of the array, valid for the program's run; a program is not
    // run twice at once on one CPU from the same receive path, so nobody else writes the element meanwhile.
    let counters = unsafe { &mut *counters };
    counters.packets = counters.packets.wrapping_add(1);
    counters.bytes = counters.bytes.wrapping_add(size);
}

/// Rust demands a handler. An endless loop is one the verifier refuses, so a program that could panic does not load.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
