//! See `snapshot::testing::fuzz::http_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| snapshot::testing::fuzz::http_path(data));
