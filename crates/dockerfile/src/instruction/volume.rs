//! VOLUME.

use crate::word::Word;

/// `VOLUME path ...` or a JSON array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInstruction {
    /// The paths, trimmed, unexpanded; never empty, none is empty.
    pub volumes: Vec<Word>,
}
