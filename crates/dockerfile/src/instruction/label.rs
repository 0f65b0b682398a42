//! LABEL: names and values, in either notation.

use super::Request;
use crate::diagnostic::Fault;
use crate::line::Pair;

/// `LABEL name=value ...` or the legacy `LABEL name value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelInstruction {
    /// The pairs in order, keys and values unexpanded; never empty, no key is empty.
    pub pairs: Vec<Pair>,
}

/// Reads LABEL.
///
/// Grammar: dockerfile.ebnf#label
pub(super) fn label(request: &mut Request) -> Result<LabelInstruction, Fault> {
    request.flags(&[])?;
    let pairs = request.take_pairs()?;
    Ok(LabelInstruction { pairs })
}
