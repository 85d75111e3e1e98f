//! See `control::fuzz::words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| control::fuzz::words(data));
