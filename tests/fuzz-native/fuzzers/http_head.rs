//! See `snapshot::testing::fuzz::http_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| snapshot::testing::fuzz::http_head(data));
