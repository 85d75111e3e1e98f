//! See `admin::fuzz::line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| admin::fuzz::line(data));
