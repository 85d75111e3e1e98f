//! See `ebpf::fuzz::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ebpf::fuzz::stream(data));
