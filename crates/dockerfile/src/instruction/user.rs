//! USER.

use super::Request;
use crate::diagnostic::Fault;
use crate::word::Word;

/// `USER user[:group]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserInstruction {
    /// The rest of the line, unexpanded.
    pub user: Word,
}

/// Reads USER.
///
/// Grammar: dockerfile.ebnf#user
pub(super) fn user(request: &mut Request) -> Result<UserInstruction, Fault> {
    let user = request.take_one()?;
    request.flags(&[])?;
    Ok(UserInstruction { user })
}
