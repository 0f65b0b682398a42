//! Evaluation of words against a scope, in the three readings that lowering needs.

use std::cell::RefCell;
use std::collections::BTreeSet;

use rbuild_dockerfile::expand::{ExpandError, ExpandMode};

use crate::scope::Scope;

/// How a text is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexer {
    escape: char,
    mode: ExpandMode,
}

impl Lexer {
    /// Instruction arguments.
    pub(crate) fn plain(escape: char) -> Self {
        Self {
            escape,
            mode: ExpandMode::default(),
        }
    }

    /// Bodies of here-documents: quotes are text, and the escape character is always `\`.
    pub(crate) fn body() -> Self {
        Self {
            escape: '\\',
            mode: ExpandMode {
                ignore_quotes: true,
                ..ExpandMode::default()
            },
        }
    }

    /// Texts for a shell in names of steps: quotes and variables without a value are the shell's.
    pub(crate) fn shell_text(escape: char) -> Self {
        Self {
            escape,
            mode: ExpandMode {
                raw_quotes: true,
                skip_unset: true,
                ..ExpandMode::default()
            },
        }
    }
}

/// The result of an expansion.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expanded {
    /// The whole text.
    pub(crate) text: String,
    /// The text split at unquoted blanks, those that came out of variables among them.
    pub(crate) words: Vec<String>,
    /// Names that it referred to and that have no value.
    pub(crate) unset: BTreeSet<String>,
    /// Names that it referred to and that have a value.
    pub(crate) used: BTreeSet<String>,
}

/// The names without a value that the expansion of `text` meets, up to its error if it has one.
pub(crate) fn unset_names(text: &str, lexer: Lexer, scope: &Scope) -> BTreeSet<String> {
    let met = RefCell::new(BTreeSet::new());
    let value = |name: &str| {
        let value = scope.get(name).map(str::to_owned);
        if value.is_none() {
            met.borrow_mut().insert(name.to_owned());
        }
        value
    };
    // Whether it succeeds is for others to say.
    let _ = rbuild_dockerfile::expand::expand(text, lexer.escape, &value, lexer.mode);
    met.into_inner()
}

/// Expands `text`; the error has BuildKit's text.
pub(crate) fn expand(text: &str, lexer: Lexer, scope: &Scope) -> Result<Expanded, ExpandError> {
    let value = |name: &str| scope.get(name).map(str::to_owned);
    let done = rbuild_dockerfile::expand::expand(text, lexer.escape, &value, lexer.mode)?;
    Ok(Expanded {
        text: done.text,
        words: done.words,
        unset: done.unmatched,
        used: done.matched,
    })
}
