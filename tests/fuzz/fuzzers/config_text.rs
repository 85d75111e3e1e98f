//! See `config::fuzz::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| config::fuzz::text(data));
