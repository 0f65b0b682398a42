//! WORKDIR.

use crate::word::Word;

/// `WORKDIR path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkdirInstruction {
    /// The rest of the line, unexpanded.
    pub path: Word,
}
