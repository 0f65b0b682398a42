//! The Dockerfile parser: no panic, no byte without a line, and printing changes nothing.
//!
//! The input is the file. Each of its lines is also read as a trigger that an image might carry.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_dockerfile::{decode, parse_trigger};

#[path = "../../crates/dockerfile/tests/it/invariants.rs"]
mod invariants;

fuzz_target!(|bytes: &[u8]| {
    let text = decode(bytes);
    invariants::check_lines(&text);
    invariants::check_printing(&text);
    for line in text.lines() {
        drop(parse_trigger(line));
        invariants::check_pieces(line, '\\');
    }
});
