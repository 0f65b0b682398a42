//! SHELL.

use super::Request;
use crate::diagnostic::{Code, Fault};
use crate::node::Arguments;
use crate::word::Word;

/// `SHELL ["prog", "arg", ...]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellInstruction {
    /// Program and arguments, never expanded; never empty.
    pub shell: Vec<Word>,
}

/// Reads SHELL.
///
/// Grammar: dockerfile.ebnf#shell
pub(super) fn shell(request: &mut Request) -> Result<ShellInstruction, Fault> {
    request.flags(&[])?;
    match std::mem::replace(&mut request.arguments, Arguments::Words(Vec::new())) {
        Arguments::Json(shell) if !shell.is_empty() => Ok(ShellInstruction { shell }),
        Arguments::Words(words) if !words.is_empty() => {
            let message = "SHELL requires the arguments to be in JSON form";
            let fault = request.fault(Code::JsonRequired, message);
            Err(fault.help("Write `SHELL [\"/bin/sh\", \"-c\"]`."))
        }
        _ => Err(request.no_arguments()),
    }
}
