//! VOLUME.

use super::Request;
use crate::diagnostic::{Code, Fault};
use crate::word::Word;

/// `VOLUME path ...` or a JSON array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInstruction {
    /// The paths, trimmed, unexpanded; never empty, none is empty.
    pub volumes: Vec<Word>,
}

/// Reads VOLUME.
///
/// Grammar: dockerfile.ebnf#volume
pub(super) fn volume(request: &mut Request) -> Result<VolumeInstruction, Fault> {
    let words = request.take_words();
    if words.is_empty() {
        return Err(request.no_arguments());
    }
    request.flags(&[])?;
    let mut volumes = Vec::with_capacity(words.len());
    for word in words {
        let path = word.text.trim();
        if path.is_empty() {
            let message = "VOLUME specified can not be an empty string";
            return Err(Fault::new(Code::ArgumentCount, message, word.span));
        }
        volumes.push(Word::new(path, word.span));
    }
    Ok(VolumeInstruction { volumes })
}
