//! See `datapath::testing::fuzz::proxy_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| datapath::testing::fuzz::proxy_header(data));
