//! RUN.

use super::Request;
use super::command::CommandLine;
use super::mount::MountFlag;
use crate::csv;
use crate::diagnostic::{Code, Fault};
use crate::flag::{FlagKind, FlagSpec, Flags};
use crate::quote::go_quote;
use crate::suggest::{nearest, with_suggestion};
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

const FLAGS: &[FlagSpec] = &[
    ("device", FlagKind::List),
    ("mount", FlagKind::List),
    ("network", FlagKind::Text),
    ("security", FlagKind::Text),
];

/// Reads RUN.
///
/// Grammar: dockerfile.ebnf#run
pub(super) fn run(request: &mut Request) -> Result<RunInstruction, Fault> {
    let flags = request.flags(FLAGS)?;
    let command = request.take_command();
    let devices: Result<Vec<Device>, Fault> = flags.list("device").iter().map(device).collect();
    let devices = devices?;
    let mounts: Result<Vec<MountFlag>, Fault> = flags
        .list("mount")
        .into_iter()
        .map(MountFlag::new)
        .collect();
    Ok(RunInstruction {
        command,
        mounts: mounts?,
        network: network(&flags)?,
        security: security(&flags)?,
        devices,
        flags_used: flags.names(),
    })
}

fn network(flags: &Flags) -> Result<Network, Fault> {
    let Some(value) = flags.given("network") else {
        return Ok(Network::default());
    };
    match value.text.as_str() {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => {
            let message = format!("invalid network mode {}", go_quote(other));
            let fault = Fault::new(Code::InvalidFlagValue, message, value.span);
            Err(fault.help("Networks are `default`, `none` and `host`."))
        }
    }
}

fn security(flags: &Flags) -> Result<Security, Fault> {
    let Some(value) = flags.given("security") else {
        return Ok(Security::default());
    };
    match value.text.as_str() {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        other => {
            let message = format!("security {} is not valid", go_quote(other));
            let fault = Fault::new(Code::InvalidFlagValue, message, value.span);
            Err(fault.help("Securities are `sandbox` and `insecure`."))
        }
    }
}

/// Reads `[name=]CDI-NAME[,required[=bool]]`.
///
/// Grammar: dockerfile.ebnf#device
fn device(flag: &Word) -> Result<Device, Fault> {
    let fault = |message: String| Fault::new(Code::InvalidFlagValue, message, flag.span);
    let fields = csv::fields(&flag.text)
        .map_err(|error| fault(format!("failed to parse csv devices: {error}")))?;
    let (mut name, mut required) = (String::new(), false);
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => required = true,
            ("required", Some(text)) => {
                let parsed = csv::parse_bool(text);
                required =
                    parsed.ok_or_else(|| fault(format!("invalid value for {key}: {text}")))?;
            }
            ("name", Some(_)) if !name.is_empty() => {
                return Err(fault(format!("device name already set to {name}")));
            }
            ("name", Some(text)) => text.clone_into(&mut name),
            // A CDI name holds a `=` of its own.
            _ if name.is_empty() => name.clone_from(&field),
            (_, None) => {
                let message = format!("invalid field '{field}' must be a key=value pair");
                return Err(fault(message));
            }
            (_, Some(_)) => {
                let message = format!("unexpected key '{key}' in '{field}'");
                let near = nearest(&key, &["name", "required"]);
                return Err(fault(with_suggestion(message, near)));
            }
        }
    }
    let raw = flag.clone();
    Ok(Device {
        raw,
        name,
        required,
    })
}
