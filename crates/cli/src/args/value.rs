//! Values of single options.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rbuild::oci::{Address, Pick, Place, Platform, Reference};
use rbuild::{Export, ExportSpec, NamedContextInput, NetworkMode, ResolveOrder, Ulimit};

use super::csv;

/// `NAME=VALUE`, or `NAME` alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What stands before the first `=`.
    pub name: String,
    /// What stands behind it.
    pub value: Option<String>,
}

impl FromStr for Pair {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// The build context as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Context {
    /// A directory.
    Directory(PathBuf),
    /// Standard input.
    Stdin,
    /// An address: a git repository or a URL.
    Remote(String),
}

/// Reads a build context.
pub fn context(text: &str) -> Result<Context, String> {
    // What is there is meant, whatever it looks like.
    if text != "-" && Path::new(text).is_dir() {
        return Ok(Context::Directory(text.into()));
    }
    match rbuild::is_remote_context(text) {
        Some(Err(message)) => Err(message),
        Some(Ok(())) => Ok(Context::Remote(text.to_owned())),
        None if text == "-" => Ok(Context::Stdin),
        None => Ok(Context::Directory(text.into())),
    }
}

/// Reads an image name.
pub fn reference(text: &str) -> Result<Reference, String> {
    Reference::parse(text).map_err(|error| error.to_string())
}

/// Reads an address of an image.
pub fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| error.to_string())
}

/// A platform, or the one that rbuild runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformArg(pub Platform);

/// Reads a platform; `local` is this machine's.
pub fn platform(text: &str) -> Result<PlatformArg, String> {
    match text {
        "local" => Ok(PlatformArg(Platform::host())),
        _ => Platform::parse(text)
            .map(PlatformArg)
            .map_err(|error| error.to_string()),
    }
}

/// Reads where names of images are looked for.
pub fn resolve(text: &str) -> Result<ResolveOrder, String> {
    match text {
        "auto" => Ok(ResolveOrder::StoreFirst),
        "registry" => Ok(ResolveOrder::Registry),
        "store" | "local" => Ok(ResolveOrder::Store),
        other => Err(format!(
            "`{other}` is none of auto (the store, then the registry), registry, store"
        )),
    }
}

/// Reads a network mode.
pub fn network(text: &str) -> Result<NetworkMode, String> {
    match text {
        "" | "default" | "sandbox" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(format!("network `{other}` is none of default, none, host")),
    }
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The name.
    pub name: String,
    /// The address.
    pub address: String,
}

/// Reads `NAME:ADDRESS` or `NAME=ADDRESS`; brackets around an IPv6 address are dropped.
///
/// `host-gateway` is the machine itself: steps share its network.
pub fn host(text: &str) -> Result<Host, String> {
    let refuse = || format!("`{text}` is no host; write NAME:ADDRESS");
    // An equals sign cannot be in a name or an address, a colon can: it goes first.
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(refuse)?;
    let bare = match address {
        "host-gateway" => "127.0.0.1",
        _ => address.trim_start_matches('[').trim_end_matches(']'),
    };
    if name.is_empty() || bare.parse::<std::net::IpAddr>().is_err() {
        return Err(refuse());
    }
    Ok(Host {
        name: name.to_owned(),
        address: bare.to_owned(),
    })
}

/// Reads `NAME=SOFT[:HARD]`; -1 is unlimited.
pub fn ulimit(text: &str) -> Result<Ulimit, String> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let refuse =
        || format!("`{text}` is no limit; write NAME=SOFT[:HARD], such as nofile=1024:4096");
    let (name, values) = text.split_once('=').ok_or_else(refuse)?;
    if !NAMES.contains(&name) {
        return Err(format!("limit `{name}` is none of {}", NAMES.join(", ")));
    }
    let number = |text: &str| {
        text.parse::<i64>()
            .ok()
            .filter(|n| *n >= -1)
            .ok_or_else(refuse)
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("`{text}`: the soft limit is above the hard one"));
    }
    Ok(Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}

/// A named context as named on the command line.
#[derive(Debug, Clone)]
pub struct NamedContextArg {
    /// The name, perhaps with `::PLATFORM`.
    pub name: String,
    /// What it stands for.
    pub place: NamedContextInput,
}

/// Reads `NAME=PATH`, `NAME=URL`, `NAME=docker-image://REFERENCE`,
/// `NAME=oci-layout://PATH[:TAG|@DIGEST]`, or `NAME=` with an address as skopeo has it.
pub fn named_context(text: &str) -> Result<NamedContextArg, String> {
    let (name, place) = text
        .split_once('=')
        .filter(|(name, place)| !name.is_empty() && !place.is_empty())
        .ok_or_else(|| format!("`{text}` is no named context; write NAME=PATH"))?;
    Ok(NamedContextArg {
        name: name.to_owned(),
        place: named_place(name, place)?,
    })
}

fn named_place(name: &str, place: &str) -> Result<NamedContextInput, String> {
    if let Some(image) = place.strip_prefix("docker-image://") {
        reference(image)?;
        return Ok(NamedContextInput::Image(image.to_owned()));
    }
    // A directory of that name is meant, whatever else the text looks like.
    let address = match Path::new(place).is_dir() {
        true => Address::Name(place.to_owned()),
        false => address(place)?,
    };
    match address {
        Address::Layout(layout) => Ok(layout_place(layout)),
        Address::Name(_) => match context(place)? {
            Context::Directory(dir) => Ok(NamedContextInput::Directory(dir)),
            Context::Remote(address) => Ok(NamedContextInput::Remote(address)),
            Context::Stdin => Err(format!("named context {name} cannot be standard input")),
        },
        address => Ok(NamedContextInput::Address(address)),
    }
}

fn layout_place(place: Place) -> NamedContextInput {
    let (tag, digest) = match place.pick {
        None => (None, None),
        Some(Pick::Tag(tag)) => (Some(tag), None),
        Some(Pick::Digest(digest)) => (None, Some(digest)),
    };
    NamedContextInput::Layout {
        dir: place.path,
        tag,
        digest,
    }
}

/// Reads where a result goes.
pub fn output(text: &str) -> Result<ExportSpec, String> {
    Export::parse(text).map_err(|error| error.to_string())
}

/// A cache mount that lies in a directory, as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMountArg {
    /// What the Dockerfile calls it.
    pub id: String,
    /// The directory.
    pub dir: PathBuf,
}

/// Reads `ID=DIR`; an id with an equals sign in it cannot be named.
pub fn cache_mount(text: &str) -> Result<CacheMountArg, String> {
    text.split_once('=')
        .filter(|(id, dir)| !id.is_empty() && !dir.is_empty())
        .map(|(id, dir)| CacheMountArg {
            id: id.to_owned(),
            dir: dir.into(),
        })
        .ok_or_else(|| {
            format!(
                "`{text}` is no cache mount; write ID=DIR: the id (or, without one, the target) of the                  mount in the Dockerfile, and a directory"
            )
        })
}

/// An ssh agent as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshArg {
    /// Under which name the Dockerfile asks for it.
    pub id: String,
    /// Its socket, or files with keys; none is the agent that `SSH_AUTH_SOCK` names.
    pub paths: Vec<PathBuf>,
}

/// Reads `ID`, `ID=SOCKET` or `ID=KEY[,KEY]`.
pub fn ssh(text: &str) -> Result<SshArg, String> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    if id.is_empty() {
        return Err(format!(
            "`{text}` is no agent; write ID, ID=SOCKET or ID=KEY"
        ));
    }
    let paths = paths.split(',').filter(|path| !path.is_empty());
    Ok(SshArg {
        id: id.to_owned(),
        paths: paths.map(PathBuf::from).collect(),
    })
}

/// A security setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityArg {
    /// Steps cannot gain privileges, by sudo for instance.
    NoNewPrivileges,
    /// Steps may: the default.
    NewPrivileges,
}

/// Reads a security setting.
pub fn security(text: &str) -> Result<SecurityArg, String> {
    match text.replacen(':', "=", 1).as_str() {
        "no-new-privileges" | "no-new-privileges=true" => Ok(SecurityArg::NoNewPrivileges),
        "no-new-privileges=false" => Ok(SecurityArg::NewPrivileges),
        _ => Err(format!(
            "security option `{text}` is not supported; use RUN --security=insecure with --allow \
             security.insecure to leave the sandbox"
        )),
    }
}

/// A right that steps may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowArg {
    /// To use the host's network.
    NetworkHost,
    /// To leave the sandbox.
    SecurityInsecure,
}

/// Reads a right.
pub fn allow(text: &str) -> Result<AllowArg, String> {
    match text {
        "network.host" => Ok(AllowArg::NetworkHost),
        "security.insecure" => Ok(AllowArg::SecurityInsecure),
        device if device == "device" || device.starts_with("device=") => Err(format!(
            "right `{device}` has nothing to allow: this rbuild gives no devices to steps"
        )),
        other => Err(format!(
            "right `{other}` is none of network.host, security.insecure"
        )),
    }
}

/// Reads a truth value.
pub fn switch(text: &str) -> Result<bool, String> {
    csv::switch("value", text)
}

#[cfg(test)]
mod tests;
