//! The eighteen instructions in typed form: the keyword table and one file per family.

pub mod arg;
pub mod command;
pub mod copy;
pub mod env;
pub mod expose;
mod from;
pub mod healthcheck;
pub mod label;
pub mod maintainer;
pub mod mount;
pub mod onbuild;
pub mod run;
pub mod shell;
pub mod stopsignal;
pub mod user;
pub mod volume;
pub mod workdir;

pub use arg::{ArgInstruction, ArgPair};
pub use command::{CommandForm, CommandInstruction, CommandLine};
pub use copy::{AddInstruction, CopyInstruction, SourcesAndDest};
pub use env::EnvInstruction;
pub use expose::ExposeInstruction;
pub use healthcheck::{HealthTest, HealthcheckInstruction};
pub use label::LabelInstruction;
pub use maintainer::MaintainerInstruction;
pub use mount::{Mount, MountFlag, MountKind, Sharing};
pub use onbuild::OnbuildInstruction;
pub use run::{Device, Network, RunInstruction, Security};
pub use shell::ShellInstruction;
pub use stopsignal::StopsignalInstruction;
pub use user::UserInstruction;
pub use volume::VolumeInstruction;
pub use workdir::WorkdirInstruction;

use crate::ast::{Header, InlineFile, Instruction, Stage};
use crate::diagnostic::{Code, Fault};
use crate::flag::{FlagSpec, Flags};
use crate::keyword::{KEYWORDS, Keyword};
use crate::node::{Arguments, Node};
use crate::suggest::{nearest_any_case, with_suggestion};
use crate::word::Word;

/// One of the instructions that can stand in a stage, with its arguments. FROM is [`crate::Stage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstructionKind {
    /// ADD.
    Add(AddInstruction),
    /// ARG.
    Arg(ArgInstruction),
    /// CMD.
    Cmd(CommandInstruction),
    /// COPY.
    Copy(CopyInstruction),
    /// ENTRYPOINT.
    Entrypoint(CommandInstruction),
    /// ENV.
    Env(EnvInstruction),
    /// EXPOSE.
    Expose(ExposeInstruction),
    /// HEALTHCHECK.
    Healthcheck(HealthcheckInstruction),
    /// LABEL.
    Label(LabelInstruction),
    /// MAINTAINER.
    Maintainer(MaintainerInstruction),
    /// ONBUILD.
    Onbuild(OnbuildInstruction),
    /// RUN.
    Run(RunInstruction),
    /// SHELL.
    Shell(ShellInstruction),
    /// STOPSIGNAL.
    Stopsignal(StopsignalInstruction),
    /// USER.
    User(UserInstruction),
    /// VOLUME.
    Volume(VolumeInstruction),
    /// WORKDIR.
    Workdir(WorkdirInstruction),
}

impl InstructionKind {
    /// Returns the keyword of the instruction.
    pub fn keyword(&self) -> Keyword {
        match self {
            InstructionKind::Add(_) => Keyword::Add,
            InstructionKind::Arg(_) => Keyword::Arg,
            InstructionKind::Cmd(_) => Keyword::Cmd,
            InstructionKind::Copy(_) => Keyword::Copy,
            InstructionKind::Entrypoint(_) => Keyword::Entrypoint,
            InstructionKind::Env(_) => Keyword::Env,
            InstructionKind::Expose(_) => Keyword::Expose,
            InstructionKind::Healthcheck(_) => Keyword::Healthcheck,
            InstructionKind::Label(_) => Keyword::Label,
            InstructionKind::Maintainer(_) => Keyword::Maintainer,
            InstructionKind::Onbuild(_) => Keyword::Onbuild,
            InstructionKind::Run(_) => Keyword::Run,
            InstructionKind::Shell(_) => Keyword::Shell,
            InstructionKind::Stopsignal(_) => Keyword::Stopsignal,
            InstructionKind::User(_) => Keyword::User,
            InstructionKind::Volume(_) => Keyword::Volume,
            InstructionKind::Workdir(_) => Keyword::Workdir,
        }
    }
}

/// A line in its typed form.
pub(crate) enum Typed {
    /// FROM.
    Stage(Box<Stage>),
    /// Anything else.
    Instruction(Box<Instruction>),
}

/// A line on its way to its type.
pub(crate) struct Request {
    keyword: Keyword,
    header: Header,
    flags: Vec<Word>,
    arguments: Arguments,
    heredocs: Vec<InlineFile>,
}

/// Gives a line its type. Errors are BuildKit's, without the line in front.
pub(crate) fn typed(node: Node) -> Result<Typed, Fault> {
    let Some(keyword) = node.keyword() else {
        return Err(unknown(&node.header.keyword));
    };
    let mut request = Request {
        keyword,
        header: node.header,
        flags: node.flags,
        arguments: node.arguments,
        heredocs: node.heredocs,
    };
    let kind = match keyword {
        Keyword::From => return from::stage(request).map(|stage| Typed::Stage(Box::new(stage))),
        Keyword::Add => InstructionKind::Add(copy::add(&mut request)?),
        Keyword::Arg => InstructionKind::Arg(arg::arg(&mut request)?),
        Keyword::Cmd => InstructionKind::Cmd(command::command(&mut request)?),
        Keyword::Copy => InstructionKind::Copy(copy::copy(&mut request)?),
        Keyword::Entrypoint => InstructionKind::Entrypoint(command::command(&mut request)?),
        Keyword::Env => InstructionKind::Env(env::env(&mut request)?),
        Keyword::Expose => InstructionKind::Expose(expose::expose(&mut request)?),
        Keyword::Healthcheck => {
            InstructionKind::Healthcheck(healthcheck::healthcheck(&mut request)?)
        }
        Keyword::Label => InstructionKind::Label(label::label(&mut request)?),
        Keyword::Maintainer => InstructionKind::Maintainer(maintainer::maintainer(&mut request)?),
        Keyword::Onbuild => InstructionKind::Onbuild(onbuild::onbuild(&mut request)?),
        Keyword::Run => InstructionKind::Run(run::run(&mut request)?),
        Keyword::Shell => InstructionKind::Shell(shell::shell(&mut request)?),
        Keyword::Stopsignal => InstructionKind::Stopsignal(stopsignal::stopsignal(&mut request)?),
        Keyword::User => InstructionKind::User(user::user(&mut request)?),
        Keyword::Volume => InstructionKind::Volume(volume::volume(&mut request)?),
        Keyword::Workdir => InstructionKind::Workdir(workdir::workdir(&mut request)?),
    };
    let header = request.header;
    Ok(Typed::Instruction(Box::new(Instruction { header, kind })))
}

fn unknown(keyword: &Word) -> Fault {
    let names: Vec<&str> = KEYWORDS.iter().map(|keyword| keyword.as_str()).collect();
    let near = nearest_any_case(&keyword.text, &names);
    let message = format!("unknown instruction: {}", keyword.text);
    let message = with_suggestion(message, near.as_deref());
    let fault = Fault::new(Code::UnknownInstruction, message, keyword.span);
    match near {
        Some(name) => fault.help(format!("Did you mean {name}?")),
        None => fault.help("A line that goes on from the one before needs `\\` at that one's end."),
    }
}

impl Request {
    fn fault(&self, code: Code, message: impl Into<String>) -> Fault {
        Fault::new(code, message, self.header.span)
    }

    /// Checks the flags against those that the instruction knows.
    fn flags(&self, known: &[FlagSpec]) -> Result<Flags, Fault> {
        Flags::check(&self.flags, known)
    }

    /// Takes the arguments as words, whether they came as JSON or not.
    fn take_words(&mut self) -> Vec<Word> {
        match std::mem::replace(&mut self.arguments, Arguments::Words(Vec::new())) {
            Arguments::Words(words) | Arguments::Json(words) => words,
            Arguments::Health(..) | Arguments::Pairs(_) | Arguments::Nested(_) => Vec::new(),
        }
    }

    /// Takes the only argument.
    fn take_one(&mut self) -> Result<Word, Fault> {
        match self.take_words().into_iter().next() {
            Some(word) => Ok(word),
            None => {
                let name = self.keyword.as_str();
                let message = format!("{name} requires exactly one argument");
                Err(self.fault(Code::ArgumentCount, message))
            }
        }
    }

    /// The fault of an instruction without arguments.
    fn no_arguments(&self) -> Fault {
        let name = self.keyword.as_str();
        let message = format!("{name} requires at least one argument");
        self.fault(Code::ArgumentCount, message)
    }

    /// The fault of an ARG, ENV or LABEL with an empty name.
    fn blank_name(&self, word: &Word) -> Fault {
        let message = format!("{} names can not be blank", self.keyword.as_str());
        Fault::new(Code::InvalidNameValue, message, word.span)
    }
}
