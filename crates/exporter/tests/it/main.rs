//! Outputs written and read back, and images from elsewhere, over a real store. Needs no privileges.

// Helpers of tests may unwrap as tests may; the lint knows only test functions.
#![allow(clippy::unwrap_used)]

mod archive;
mod bench;
mod hostile;
mod hostile_whole;
mod import;
mod local;
mod whole;
