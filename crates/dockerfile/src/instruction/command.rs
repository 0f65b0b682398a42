//! Command lines of RUN, CMD, ENTRYPOINT and HEALTHCHECK: shell form or exec form.

use crate::ast::InlineFile;
use crate::word::Word;

/// CMD or ENTRYPOINT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandInstruction {
    /// What to run.
    pub command: CommandLine,
}

/// A command; never expanded by the builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// How it was written.
    pub form: CommandForm,
    /// Exec form: the arguments. Shell form: exactly one, the text for the shell.
    pub args: Vec<Word>,
    /// The heredocs of the line (RUN only).
    pub files: Vec<InlineFile>,
}

/// How a command was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandForm {
    /// Text that the SHELL gets as its last argument.
    Shell,
    /// A JSON array, run as it is.
    Exec,
}
