//! Places for caches: what every one of them must do, and each with what can go wrong there.

#![cfg(test)]

mod contract;
mod faulty;
mod local;
mod memory;
mod registry;
