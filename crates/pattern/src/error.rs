//! What can be wrong with a pattern.

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A pattern that cannot be used. The texts begin as BuildKit's do, since tools match on them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A `!` with nothing behind it.
    #[error("illegal exclusion pattern: \"!\"{}", on_line(*.line))]
    EmptyException {
        /// Line in the ignore file, from 1; `None` for patterns that come from a list.
        line: Option<u32>,
    },
    /// A broken class, a reversed range, or a `\` at the end.
    #[error("syntax error in pattern {text:?}{}: {reason}", on_line(*.line))]
    Syntax {
        /// The pattern as written.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
        /// Line in the ignore file, from 1; `None` for patterns that come from a list.
        line: Option<u32>,
    },
}

impl Error {
    /// The line of the ignore file, from 1, if the pattern comes from one.
    pub fn line(&self) -> Option<u32> {
        match self {
            Self::EmptyException { line } | Self::Syntax { line, .. } => *line,
        }
    }
}

fn on_line(line: Option<u32>) -> String {
    line.map(|line| format!(" on line {line}"))
        .unwrap_or_default()
}
