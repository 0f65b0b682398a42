//! Evaluation of words: quotes removed, variables replaced, `${...}` forms applied.
//!
//! Pure: values come from the caller, who also decides what an unset variable means for the
//! build. The rules are BuildKit's, with its messages. Source: the Dockerfile reference,
//! "Environment replacement", and BuildKit's behaviour where that is silent.

mod evaluate;
mod pattern;

use std::collections::BTreeSet;

use crate::quote::go_quote;
use crate::word::{Reading, SyntaxFault};

/// The largest result of one expansion, in bytes.
pub const MAX_EXPANSION_BYTES: usize = 1 << 20;

/// The rules that differ between the places where words are expanded; the default is that of
/// instruction arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpandMode {
    /// Keep the quotes.
    pub raw_quotes: bool,
    /// Keep the escape characters.
    pub raw_escapes: bool,
    /// Quotes are ordinary characters (bodies of here-documents).
    pub ignore_quotes: bool,
    /// Leave references to unset variables as they are.
    pub skip_unset: bool,
}

/// The result of an expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The whole text.
    pub text: String,
    /// The text split at unquoted blanks, also those that came out of variables.
    pub words: Vec<String>,
    /// The variables that had a value.
    pub matched: BTreeSet<String>,
    /// The variables that had none.
    pub unmatched: BTreeSet<String>,
}

/// A word that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {cause}", go_quote(.word))]
pub struct ExpandError {
    /// The word as written.
    pub word: String,
    /// Why.
    pub cause: ExpandCause,
}

/// Why a word cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandCause {
    /// It cannot be read.
    #[error(transparent)]
    Syntax(#[from] SyntaxFault),
    /// `${name:?text}` and the variable is not there.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The text after `?`, or a standard one.
        message: String,
    },
    /// A pattern holds an escape that means nothing.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    Pattern {
        /// The pattern; of `%`, reversed, as BuildKit prints it.
        pattern: String,
        /// The character after the escape.
        escaped: char,
    },
    /// The result is larger than [`MAX_EXPANSION_BYTES`].
    #[error("the result is larger than {MAX_EXPANSION_BYTES} bytes")]
    TooLarge,
    /// Matching a pattern takes too long.
    #[error("the pattern takes too long to match")]
    TooSlow,
}

/// Expands `word` with the values that `env` returns.
///
/// `env` is asked once for each reference, in order. Errors: [`ExpandError`] with BuildKit's text.
///
/// ```
/// use rbuild_dockerfile::expand::{ExpandMode, expand};
/// let env = |name: &str| (name == "V").then(|| "1.2.3".to_owned());
/// let done = expand("v${V%%.*}-$X", '\\', &env, ExpandMode::default()).unwrap();
/// assert_eq!(done.text, "v1-");
/// assert!(done.unmatched.contains("X"));
/// ```
pub fn expand(
    word: &str,
    escape: char,
    env: &dyn Fn(&str) -> Option<String>,
    mode: ExpandMode,
) -> Result<Expanded, ExpandError> {
    let reading = Reading {
        escape,
        raw_quotes: mode.raw_quotes,
        raw_escapes: mode.raw_escapes,
        ignore_quotes: mode.ignore_quotes,
    };
    evaluate::evaluate(word, reading, env, mode.skip_unset).map_err(|cause| ExpandError {
        word: word.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests;
