//! See `tls::fuzz::groups`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls::fuzz::groups(data));
