//! MAINTAINER.

use super::Request;
use crate::diagnostic::Fault;
use crate::word::Word;

/// `MAINTAINER text`, deprecated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintainerInstruction {
    /// The author, never expanded.
    pub name: Word,
}

/// Reads MAINTAINER.
///
/// Grammar: dockerfile.ebnf#maintainer
pub(super) fn maintainer(request: &mut Request) -> Result<MaintainerInstruction, Fault> {
    let name = request.take_one()?;
    request.flags(&[])?;
    Ok(MaintainerInstruction { name })
}
