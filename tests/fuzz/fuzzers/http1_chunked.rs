//! See `http1::fuzz::chunked`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| http1::fuzz::chunked(data));
