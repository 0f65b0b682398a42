//! The solver over a worker and a cache index that live in memory.
#![allow(clippy::unwrap_used)]

mod build;
mod cached;
mod failing;
mod fake;
mod parallel;
mod random;
