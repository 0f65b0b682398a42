//! LABEL: names and values, in either notation.

use crate::line::Pair;

/// `LABEL name=value ...` or the legacy `LABEL name value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelInstruction {
    /// The pairs in order, keys and values unexpanded; never empty, no key is empty.
    pub pairs: Vec<Pair>,
}
