//! The rules of `docs/style.md` and `docs/architecture.md` that a machine can check.
//!
//! Each test prints every offence with file and line, so that one run shows all there is to mend.

mod code;
mod dependencies;
mod documents;
mod layers;
mod sources;

use std::fmt::Write;

/// Fails with all the offences, one a line, under the rule's name.
#[track_caller]
fn report(rule: &str, offences: &[String]) {
    let mut text = String::new();
    for offence in offences {
        let _ = writeln!(text, "  {offence}");
    }
    assert!(offences.is_empty(), "{rule}:\n{text}");
}
