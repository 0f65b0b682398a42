//! The commands, a file each, and what they share: the engine, and how errors end.

mod build;
mod call;
mod credentials;
mod debug;
mod doctor;
mod du;
mod engines;
mod explain;
mod export;
mod history;
mod hosts;
mod images;
mod import;
mod index;
mod inspect;
mod load;
mod load_into;
mod lock;
mod login;
mod proxy;
mod prune;
mod push;
mod remote_cache;
mod request;
mod rmi;
mod run;
mod save;
mod settings;
mod shown;
mod stdin;
mod store;
mod table;
mod tag;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rbuild::oci::{Address, Platform};
use rbuild::{BuildError, Dest, Engine, EngineConfig, ErrorKind, ImageFile, Reach, Report};

use crate::args::{BuildArgs, Cli, Command, NetworkArgs, PlatformArg, duration, size};
use crate::exit::Exit;
use crate::failure::failure;
use crate::style::Look;

/// The variable with how long a tag is believed.
const TAG_AGE: &str = "RBUILD_TAG_AGE";

/// The variable with a store to take from.
const STORE_FROM: &str = "RBUILD_STORE_FROM";

/// The variable with what the store may take.
const CACHE_MAX: &str = "RBUILD_CACHE_MAX";

/// Carries out what was asked for, and says so if that failed.
pub fn run(cli: Cli) -> Exit {
    let root = cli.root.as_deref();
    let result = match cli.command {
        Command::Build(args) => build::run(*args, root),
        Command::Lock(args) => lock::run(*args, root),
        Command::Images(args) => images::run(&args, root),
        Command::Inspect(args) => inspect::run(&args, root),
        Command::History(args) => history::run(&args, root),
        Command::Tag(args) => tag::run(&args, root),
        Command::Rmi(args) => rmi::run(&args, root),
        Command::Push(args) => push::run(&args, root),
        Command::Save(args) => save::run(&args, root),
        Command::Load(args) => load::run(args, root),
        Command::LoadInto(args) => load_into::run(&args, root),
        Command::Import(args) => import::run(&args, root),
        Command::Export(args) => export::run(&args, root),
        Command::Index(command) => index::run(command, root),
        Command::Run(args) => run::run(args, root),
        Command::Login(args) => login::login(&args),
        Command::Logout(args) => login::logout(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Explain(args) => explain::run(&args, root),
        Command::Du(args) => du::run(&args, root),
        Command::Cache(command) => remote_cache::run(command),
        Command::Prune(args) => prune::run(*args, root),
        Command::Store(command) => store::run(&command, root),
        Command::Debug(command) => debug::run(command, root),
        Command::Version => print(&format!("rbuild {}\n", env!("CARGO_PKG_VERSION"))),
    };
    result.unwrap_or_else(|error| error.show(""))
}

/// Why a command failed.
#[derive(Debug)]
pub enum CommandError {
    /// The engine says.
    Engine(BuildError),
    /// The request makes no sense.
    Usage(String),
    /// Something outside the engine failed.
    Other(anyhow::Error),
    /// Nobody reads standard output any more: no failure.
    Hangup,
}

impl CommandError {
    /// Says what failed, with `prefix` before an engine's message; returns how to end.
    pub fn show(&self, prefix: &str) -> Exit {
        let look = Look::of(&io::stderr());
        let report = match self {
            Self::Engine(error) => error.report(),
            Self::Usage(message) => bare(ErrorKind::Usage, message.clone()),
            Self::Other(error) => bare(ErrorKind::Build, format!("{error:#}")),
            Self::Hangup => return Exit::Success,
        };
        let prefix = if matches!(self, Self::Engine(_)) {
            prefix
        } else {
            ""
        };
        io::stderr()
            .write_all(failure(&report, prefix, look).as_bytes())
            .ok();
        report.kind.into()
    }
}

impl From<BuildError> for CommandError {
    fn from(error: BuildError) -> Self {
        Self::Engine(error)
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// The outcome of a command.
pub type CommandResult = Result<Exit, CommandError>;

/// Opens the engine over the store that the user means.
fn open(root: Option<&Path>) -> Result<Engine, CommandError> {
    open_with(root, NetworkArgs::default(), StoreWishes::default())
}

/// What the command line says of the store, besides where it is.
#[derive(Debug, Default)]
struct StoreWishes {
    cache_max: Option<u64>,
    store_from: Option<PathBuf>,
}

impl StoreWishes {
    /// What the options of a build say.
    fn of(args: &mut BuildArgs) -> Self {
        Self {
            cache_max: args.cache_max,
            store_from: args.store_from.take(),
        }
    }
}

/// As [`open`], with what the command line says of the network and of the store.
fn open_with(
    root: Option<&Path>,
    network: NetworkArgs,
    wishes: StoreWishes,
) -> Result<Engine, CommandError> {
    let mut config = EngineConfig::new(root_dir(root)?);
    of_environment(&mut config)?;
    if network.offline {
        config.reach = Reach::Offline;
    }
    if wishes.cache_max.is_some() {
        config.cache_max = wishes.cache_max;
    }
    if wishes.store_from.is_some() {
        config.store_from = wishes.store_from;
    }
    if let Some(age) = network.tag_age {
        config.tag_age = age;
    }
    Ok(Engine::open(config)?)
}

/// What the environment says about registries and git.
fn of_environment(config: &mut EngineConfig) -> Result<(), CommandError> {
    config.credentials = credentials::places();
    config.helper_limit = credentials::helper_limit()?;
    let store_from = std::env::var_os(STORE_FROM).filter(|dir| !dir.is_empty());
    config.store_from = store_from.map(PathBuf::from);
    config.proxy = proxy::of_network();
    if let Some(age) = variable(TAG_AGE) {
        config.tag_age =
            duration(&age).map_err(|e| CommandError::Usage(format!("{TAG_AGE}: {e}")))?;
    }
    config.cache_max = settings::Settings::read()?.cache_max;
    if let Some(max) = variable(CACHE_MAX) {
        let max = size(&max).map_err(|e| CommandError::Usage(format!("{CACHE_MAX}: {e}")))?;
        config.cache_max = Some(max);
    }
    config.cache_places = remote_cache::place_env();
    config.host_files = hosts::host_files();
    config.insecure_registries = hosts::insecure_registries();
    config.container_engines = engines::container_engines();
    config.git.path = std::env::var_os("PATH");
    config.git.known_hosts = directory("HOME")
        .map(|home| home.join(".ssh/known_hosts"))
        .into_iter()
        .chain(["/etc/ssh/ssh_known_hosts".into()])
        .collect();
    Ok(())
}

/// A variable of the environment that is not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The store's directory: as given, else the variable's, else the system's for root, else the user's own.
fn root_dir(given: Option<&Path>) -> Result<PathBuf, CommandError> {
    // Read here, not by the parser, which would take a variable for something the user typed.
    let variable = std::env::var_os("RBUILD_ROOT")
        .filter(|root| !root.is_empty())
        .map(PathBuf::from);
    if let Some(root) = given.map(Path::to_owned).or(variable) {
        return Ok(std::path::absolute(root).map_err(anyhow::Error::from)?);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/rbuild"));
    }
    directory("XDG_DATA_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("rbuild"))
        .ok_or_else(|| {
            let message = "neither HOME nor XDG_DATA_HOME is set; name a directory with --root";
            CommandError::Usage(message.to_owned())
        })
}

/// Where Docker's client keeps its settings.
fn docker_config() -> Option<PathBuf> {
    directory("DOCKER_CONFIG").or_else(|| directory("HOME").map(|home| home.join(".docker")))
}

/// An absolute path in the environment; others are ignored, as the XDG specification asks.
fn directory(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

/// The platforms that options name.
fn platforms(args: &[PlatformArg]) -> Vec<Platform> {
    args.iter().map(|arg| arg.0.clone()).collect()
}

/// Where a file goes; standard output only where that is no terminal.
fn dest(output: Option<&Path>) -> Dest {
    match output {
        Some(path) if path != Path::new("-") => Dest::File(path.to_owned()),
        _ => Dest::Stdout,
    }
}

/// The file that is meant by an argument: without a transport it is a path, or `-`.
fn image_file(address: &Address) -> ImageFile {
    match address {
        Address::Name(name) if name == "-" => ImageFile::Stdin,
        Address::Name(path) => ImageFile::Path(path.into()),
        address => ImageFile::Address(address.clone()),
    }
}

/// Writes to standard output.
fn print(text: &str) -> CommandResult {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Success),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(CommandError::Hangup),
        Err(error) => Err(anyhow::Error::from(error)
            .context("write to standard output")
            .into()),
    }
}

fn bare(kind: ErrorKind, message: String) -> Report {
    Report {
        kind,
        message,
        excerpts: Vec::new(),
        help: Vec::new(),
        vertex: None,
        log: None,
    }
}
