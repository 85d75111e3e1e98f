//! See `ebpf::fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ebpf::fuzz::frame(data));
