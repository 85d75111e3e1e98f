//! See `gateway::rules::fuzz::parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::rules::fuzz::parse(data));
