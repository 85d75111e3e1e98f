//! See `tls::fuzz::list`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls::fuzz::list(data));
