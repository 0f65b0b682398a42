//! Tests of the crate from outside.

mod conformance;
mod ebnf;
mod generate;
mod grammar;
mod vectors;
