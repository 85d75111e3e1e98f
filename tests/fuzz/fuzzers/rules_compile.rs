//! See `gateway::rules::fuzz::compile`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gateway::rules::fuzz::compile(data));
