//! See `tls::fuzz::certificates`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls::fuzz::certificates(data));
