//! RUN.

use super::command::CommandLine;
use super::mount::MountFlag;
use crate::word::Word;

/// RUN with its flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInstruction {
    /// What to run; `files` holds the heredocs.
    pub command: CommandLine,
    /// `--mount` in order.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device` in order.
    pub devices: Vec<Device>,
    /// The names of the flags given, each once, in order of first use.
    pub flags_used: Vec<String>,
}

/// The network a step may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Network {
    /// What the build says.
    #[default]
    Default,
    /// None but loopback.
    None,
    /// The host's.
    Host,
}

/// How a step is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Security {
    /// The usual sandbox.
    #[default]
    Sandbox,
    /// All capabilities, no filter.
    Insecure,
}

/// A device that a step asks for by its CDI name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The flag as written.
    pub raw: Word,
    /// The CDI name.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
}
