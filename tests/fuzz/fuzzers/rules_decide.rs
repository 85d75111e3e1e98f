//! See `rules::testing::fuzz::decide_as_evaluated`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::testing::fuzz::decide_as_evaluated(data));
