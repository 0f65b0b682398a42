//! The eighteen instructions in typed form: the keyword table and one file per family.

pub mod arg;
pub mod command;
pub mod copy;
pub mod env;
pub mod expose;
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
