//! The programs as the kernel finds them: entry points, licence, ABI mark.
//!
//! Two programs and their division of labour: `postern_xdp` sees every frame and reads the
//! ClientHello of a connection that has no socket yet; `postern_place` runs when the kernel looks
//! for a listener and carries out what the first one noted. Whatever either does not understand
//! goes its ordinary way.

#![expect(
    unsafe_code,
    reason = "kernel memory comes as raw pointers, and the kernel finds programs by symbol and section"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places and sizes in a frame, halves that are meant, and numbers that `forgotten` gives \
              back: a checked conversion is a branch more, which the verifier follows"
)]

mod admission;
mod answer;
mod data;
mod held;
mod maps;
mod place;
mod quick;
mod socket;
mod steer;

use aya_ebpf::{
    bindings::{sk_action, xdp_action},
    macros::{sk_lookup, xdp},
    programs::{SkLookupContext, XdpContext},
};
use ebpf::ABI_MARK;

/// Read by the loader out of the object file, never in the kernel.
#[unsafe(link_section = "postern_abi")]
#[unsafe(no_mangle)]
static POSTERN_ABI: [u8; 24] = ABI_MARK;

/// The kernel lends some helpers only to programs under a licence it knows to be compatible with
/// its own.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Runs once for every frame an interface receives. `frags`: frames in several buffers are welcome.
#[xdp(frags)]
fn postern_xdp(context: XdpContext) -> u32 {
    steer::frame(&context).unwrap_or(xdp_action::XDP_PASS)
}

/// Runs when the kernel looks for a listener for a segment that belongs to no socket.
#[sk_lookup]
fn postern_place(context: SkLookupContext) -> u32 {
    place::segment(&context);
    // Without an assignment the kernel's own choice stands.
    sk_action::SK_PASS
}

/// Rust demands a handler. An endless loop is one the verifier refuses, so a program that could
/// panic does not load.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
