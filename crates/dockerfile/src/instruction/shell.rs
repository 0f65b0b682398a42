//! SHELL.

use crate::word::Word;

/// `SHELL ["prog", "arg", ...]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellInstruction {
    /// Program and arguments, never expanded; never empty.
    pub shell: Vec<Word>,
}
