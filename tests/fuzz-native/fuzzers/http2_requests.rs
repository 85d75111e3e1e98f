//! See `datapath::testing::fuzz::http2_requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| datapath::testing::fuzz::http2_requests(data));
