//! See `rules::testing::fuzz::lex`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rules::testing::fuzz::lex(data));
