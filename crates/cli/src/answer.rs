//! Answers to questions about a Dockerfile, in the forms in which they are given.
//!
//! Texts and JSON are those of BuildKit's client, where it has them.

mod check;
mod json;
mod lists;
mod sarif;

pub use check::text as check_text;
pub use json::{
    check as check_json, describe as describe_json, outline as outline_json,
    targets as targets_json,
};
pub use lists::{describe, outline as outline_text, targets as targets_text};
pub use sarif::{sarif, uri as sarif_uri};
