//! USER.

use crate::word::Word;

/// `USER user[:group]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInstruction {
    /// The rest of the line, unexpanded.
    pub user: Word,
}
