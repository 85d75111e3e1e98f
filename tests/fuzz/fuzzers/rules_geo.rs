//! See `rules::testing::fuzz::geo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::testing::fuzz::geo(data));
