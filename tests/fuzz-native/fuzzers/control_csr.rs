//! See `control::fuzz::csr`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| control::fuzz::csr(data));
