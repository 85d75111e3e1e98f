//! See `rules::testing::fuzz::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::testing::fuzz::json(data));
