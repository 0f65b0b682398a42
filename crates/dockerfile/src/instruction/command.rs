//! Command lines of RUN, CMD, ENTRYPOINT and HEALTHCHECK: shell form or exec form.

use super::Request;
use crate::ast::InlineFile;
use crate::diagnostic::Fault;
use crate::node::Arguments;
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

impl CommandLine {
    /// Makes a command line of split arguments; nothing at all is the shell form of "".
    pub(super) fn new(arguments: Arguments, place: &Word, files: Vec<InlineFile>) -> CommandLine {
        let (form, args) = match arguments {
            Arguments::Json(args) => (CommandForm::Exec, args),
            Arguments::Words(words) if !words.is_empty() => (CommandForm::Shell, words),
            _ => {
                let empty = Word::new("", place.span);
                (CommandForm::Shell, vec![empty])
            }
        };
        CommandLine { form, args, files }
    }
}

impl Request {
    /// Takes the arguments as a command.
    pub(super) fn take_command(&mut self) -> CommandLine {
        let arguments = std::mem::replace(&mut self.arguments, Arguments::Words(Vec::new()));
        let files = std::mem::take(&mut self.heredocs);
        CommandLine::new(arguments, &self.header.keyword, files)
    }
}

/// Reads CMD and ENTRYPOINT.
///
/// Grammar: dockerfile.ebnf#command
pub(super) fn command(request: &mut Request) -> Result<CommandInstruction, Fault> {
    request.flags(&[])?;
    let command = request.take_command();
    Ok(CommandInstruction { command })
}
