#![no_main]

#[allow(dead_code, reason = "the other targets are for the other programs")]
#[path = "../../tests/hostile/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::safetensors(bytes));
