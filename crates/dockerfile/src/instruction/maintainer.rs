//! MAINTAINER.

use crate::word::Word;

/// `MAINTAINER text`, deprecated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintainerInstruction {
    /// The author, never expanded.
    pub name: Word,
}
