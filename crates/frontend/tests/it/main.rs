//! Lowering from the outside: tables of cases, whole files, and the laws that hold for all of them.

mod config;
mod conformance;
mod files;
mod laws;
mod lint;
mod mounts;
mod scope;
mod stages;
mod steps;
mod world;
