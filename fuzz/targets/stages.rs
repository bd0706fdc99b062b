#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| podpace_fuzz::execute("stages", data));
