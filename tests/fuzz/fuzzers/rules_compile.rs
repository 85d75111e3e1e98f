//! See `rules::testing::fuzz::compile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::testing::fuzz::compile(data));
