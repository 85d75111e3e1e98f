//! See `tls::fuzz::answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tls::fuzz::answer(data));
