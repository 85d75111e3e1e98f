//! See `http1::fuzz::client_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| http1::fuzz::client_head(data));
