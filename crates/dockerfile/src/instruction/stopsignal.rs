//! STOPSIGNAL.

use crate::word::Word;

/// `STOPSIGNAL signal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopsignalInstruction {
    /// The signal's name or number, unexpanded and unchecked.
    pub signal: Word,
}
