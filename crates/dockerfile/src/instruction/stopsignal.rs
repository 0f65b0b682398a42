//! STOPSIGNAL.

use super::Request;
use crate::diagnostic::Fault;
use crate::word::Word;

/// `STOPSIGNAL signal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopsignalInstruction {
    /// The signal's name or number, unexpanded and unchecked.
    pub signal: Word,
}

/// Reads STOPSIGNAL; flags are ignored, as BuildKit does.
///
/// Grammar: dockerfile.ebnf#stopsignal
pub(super) fn stopsignal(request: &mut Request) -> Result<StopsignalInstruction, Fault> {
    let signal = request.take_one()?;
    Ok(StopsignalInstruction { signal })
}
