//! ARG: build arguments with optional defaults.

use crate::word::Word;

/// `ARG name[=default] ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgInstruction {
    /// The arguments in order; never empty.
    pub args: Vec<ArgPair>,
}

/// One argument of ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgPair {
    /// The name; never empty, never expanded.
    pub key: Word,
    /// The default, unexpanded; `None` without `=`.
    pub value: Option<Word>,
    /// The description from the comment above (`# NAME text`).
    pub doc: Option<String>,
}
