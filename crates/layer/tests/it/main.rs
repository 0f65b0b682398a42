//! Layers in a real store: committed, pulled, unpacked, merged, compressed, and attacked.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod active;
mod bench;
mod blob_form;
mod forms;
mod hostile;
mod pulled;
mod restart;
mod stacks;
