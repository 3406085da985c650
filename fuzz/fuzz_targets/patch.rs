#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spine_fuzz_targets::patch(data));
