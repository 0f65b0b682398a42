//! ONBUILD.

use crate::ast::Instruction;

/// `ONBUILD instruction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnbuildInstruction {
    /// What goes into the image: the joined line after ONBUILD, with heredoc bodies behind it.
    pub expression: String,
    /// The inner instruction in typed form; `None` when it does not have one, which only
    /// matters once it is triggered.
    pub trigger: Option<Box<Instruction>>,
}
