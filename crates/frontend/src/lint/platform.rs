//! `FROM --platform` that says too much or too little.

use rbuild_dockerfile::{Span, Word};
use rbuild_oci::Platform;

use crate::expand::Expanded;
use crate::scope::Scope;
use crate::{Code, Diagnostic};

const TARGET: &str = "TARGETPLATFORM";

/// What there is to say about the value of a stage's `--platform`; at most one finding.
pub(crate) fn check(
    (word, value): (&Word, &Expanded),
    stage: &str,
    (from, globals): (Span, &Scope),
) -> Option<Diagnostic> {
    let found = |code, message: String, help: &str| {
        let warning = Diagnostic::warning(code, from, message);
        Some(warning.pointing(Some(word.span)).with_help(help))
    };
    if is_target(value, globals) {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default \
             behavior",
            word.as_str()
        );
        return found(
            Code::RedundantTargetPlatform,
            message,
            "Leave --platform out.",
        );
    }
    if is_constant(value) && !names_its_platform(stage, &value.text) {
        let message = format!(
            "FROM --platform flag should not use constant value \"{}\"",
            value.text
        );
        return found(
            Code::FromPlatformFlagConstDisallowed,
            message,
            "Leave --platform out, use a variable such as $BUILDPLATFORM, or name the stage after \
             the platform.",
        );
    }
    None
}

/// Whether the target platform is all there is.
fn is_target(value: &Expanded, globals: &Scope) -> bool {
    let alone = value.unset.is_empty() && value.used.len() == 1;
    alone && value.used.contains(TARGET) && globals.get(TARGET) == Some(value.text.as_str())
}

fn is_constant(value: &Expanded) -> bool {
    value.unset.is_empty() && value.used.is_empty()
}

/// Whether the name of the stage says that it is for this platform; true where there is none.
fn names_its_platform(stage: &str, text: &str) -> bool {
    Platform::parse(text).map_or(true, |platform| {
        stage.contains(&platform.os) || stage.contains(&platform.architecture)
    })
}
