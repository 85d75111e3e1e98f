//! See `tls::fuzz::pem`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls::fuzz::pem(data));
