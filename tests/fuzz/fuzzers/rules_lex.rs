//! See `gateway::rules::fuzz::lex`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::rules::fuzz::lex(data));
