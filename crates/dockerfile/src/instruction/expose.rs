//! EXPOSE.

use crate::word::Word;

/// `EXPOSE port ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposeInstruction {
    /// The arguments, unexpanded, sorted by their bytes as BuildKit does; never empty.
    pub ports: Vec<Word>,
}
