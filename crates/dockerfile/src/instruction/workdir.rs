//! WORKDIR.

use super::Request;
use crate::diagnostic::Fault;
use crate::word::Word;

/// `WORKDIR path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkdirInstruction {
    /// The rest of the line, unexpanded.
    pub path: Word,
}

/// Reads WORKDIR.
///
/// Grammar: dockerfile.ebnf#workdir
pub(super) fn workdir(request: &mut Request) -> Result<WorkdirInstruction, Fault> {
    let path = request.take_one()?;
    request.flags(&[])?;
    Ok(WorkdirInstruction { path })
}
