//! ONBUILD triggers: the text that a base declared, turned into an instruction of the child.

use rbuild_dockerfile::{Instruction, Span, parse_trigger};

use crate::{Code, Diagnostic};

/// Parses one trigger; everything wrong with it is blamed on `from`, the child's FROM line.
pub(crate) fn parse(text: &str, from: Span) -> Result<Instruction, Vec<Diagnostic>> {
    parse_trigger(text).map_err(|found| {
        found
            .into_iter()
            .filter(rbuild_dockerfile::Diagnostic::is_error)
            .map(|found| Diagnostic::error(Code::Trigger(found.code), from, found.message))
            .collect()
    })
}
