//! Names for what failed inside a step's process, before its program ran.

use std::fmt::Display;

use crate::wire::Failure;

/// Adds to an error which part of the set-up it ended, and what that acted on.
pub(crate) trait During<T> {
    /// Turns an error into `stage: subject: error`.
    fn during(self, stage: &'static str, subject: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> During<T> for Result<T, E> {
    fn during(self, stage: &'static str, subject: impl Display) -> Result<T, Failure> {
        self.map_err(|error| setup(stage, format!("{subject}: {error}")))
    }
}

/// Makes a set-up failure.
pub(crate) fn setup(stage: &'static str, detail: impl Into<String>) -> Failure {
    Failure::Setup {
        stage: stage.to_owned(),
        detail: detail.into(),
    }
}
