//! Tests of the crate from outside.

mod conformance;
mod data;
mod ebnf;
mod generate;
mod generator;
mod grammar;
mod invariants;
mod vectors;
