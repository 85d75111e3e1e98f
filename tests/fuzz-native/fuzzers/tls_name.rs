//! See `tls::fuzz::name`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls::fuzz::name(data));
