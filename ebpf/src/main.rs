//! The kernel program's entry. For the `bpf` target this is the program itself (see `program.rs`);
//! for the host it is a stub, so that `cargo build --workspace` needs neither a kernel toolchain
//! nor an exception.

#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod program;

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!(
        "postern-steer runs in the kernel: `cargo xtask ebpf` builds it, the gateway loads it"
    );
}
