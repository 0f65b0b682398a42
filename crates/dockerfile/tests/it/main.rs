//! Tests of the crate from outside.

mod conformance;
mod data;
mod generate;
mod grammar;
mod invariants;
mod vectors;
