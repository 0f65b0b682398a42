//! EXPOSE.

use super::Request;
use crate::diagnostic::Fault;
use crate::word::Word;

/// `EXPOSE port ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposeInstruction {
    /// The arguments, unexpanded, sorted by their bytes as BuildKit does; never empty.
    pub ports: Vec<Word>,
}

/// Reads EXPOSE. The ports themselves are read after expansion, see [`crate::port`].
///
/// Grammar: dockerfile.ebnf#expose
pub(super) fn expose(request: &mut Request) -> Result<ExposeInstruction, Fault> {
    let mut ports = request.take_words();
    if ports.is_empty() {
        return Err(request.no_arguments());
    }
    request.flags(&[])?;
    ports.sort_by(|a, b| a.text.cmp(&b.text));
    Ok(ExposeInstruction { ports })
}
