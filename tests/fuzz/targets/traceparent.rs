#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| moorgate_fuzz::traceparent::check(input));
