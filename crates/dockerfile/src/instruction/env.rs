//! ENV: names and values, in either notation.

use super::Request;
use crate::diagnostic::Fault;
use crate::line::Pair;
use crate::node::Arguments;

/// `ENV name=value ...` or the legacy `ENV name value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvInstruction {
    /// The pairs in order, keys and values unexpanded; never empty, no key is empty.
    pub pairs: Vec<Pair>,
}

/// Reads ENV.
///
/// Grammar: dockerfile.ebnf#env
pub(super) fn env(request: &mut Request) -> Result<EnvInstruction, Fault> {
    request.flags(&[])?;
    let pairs = request.take_pairs()?;
    Ok(EnvInstruction { pairs })
}

impl Request {
    /// Takes the arguments of ENV or LABEL.
    pub(super) fn take_pairs(&mut self) -> Result<Vec<Pair>, Fault> {
        let arguments = std::mem::replace(&mut self.arguments, Arguments::Words(Vec::new()));
        let Arguments::Pairs(pairs) = arguments else {
            return Err(self.no_arguments());
        };
        if pairs.is_empty() {
            return Err(self.no_arguments());
        }
        match pairs.iter().find(|pair| pair.key.is_empty()) {
            Some(pair) => Err(self.blank_name(&pair.value)),
            None => Ok(pairs),
        }
    }
}
