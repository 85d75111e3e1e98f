//! See `rules::testing::fuzz::parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::testing::fuzz::parse(data));
