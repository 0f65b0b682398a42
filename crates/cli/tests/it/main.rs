//! What the user sees, from lists of events to text.
#![allow(clippy::unwrap_used)]

mod call;
mod command;
mod failure;
mod feed;
mod interrupt;
mod json;
mod options;
mod place;
mod plain;
mod snapshot;
mod tty;
