//! Lowering from the outside: data tests over whole files.

mod conformance;
mod world;
