//! ENV: names and values, in either notation.

use crate::line::Pair;

/// `ENV name=value ...` or the legacy `ENV name value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvInstruction {
    /// The pairs in order, keys and values unexpanded; never empty, no key is empty.
    pub pairs: Vec<Pair>,
}
