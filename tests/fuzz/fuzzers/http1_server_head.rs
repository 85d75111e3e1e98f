//! See `http1::fuzz::server_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| http1::fuzz::server_head(data));
