//! RUN --mount: the option list before and after expansion.

mod size;

use crate::csv::{self, CsvError};
use crate::diagnostic::{Code, Fault};
use crate::expand::ExpandError;
use crate::quote::go_quote;
use crate::suggest::{nearest, with_suggestion};
use crate::word::Word;

/// One `--mount` flag as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The option list, unexpanded.
    pub raw: Word,
    /// The value of `from`, which is never expanded; what the stage depends on.
    pub from: Option<String>,
}

/// A mount after expansion of its option values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// `type`.
    pub kind: MountKind,
    /// `from`; empty when not given.
    pub from: String,
    /// `source`; empty when not given.
    pub source: String,
    /// `target`; empty when not given.
    pub target: String,
    /// Whether the mount cannot be written to, after the default of its type.
    pub read_only: bool,
    /// `size` of a tmpfs, in bytes; 0 when not given.
    pub size_bytes: i64,
    /// `id`; empty when not given.
    pub id: String,
    /// `sharing` of a cache.
    pub sharing: Option<Sharing>,
    /// `required` of a secret or ssh mount.
    pub required: bool,
    /// `env` of a secret.
    pub env: Option<String>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// The type of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MountKind {
    /// Files of a stage, an image or the context.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// A directory in memory.
    Tmpfs,
    /// A file or variable that must not get into the image.
    Secret,
    /// An agent socket.
    Ssh,
}

/// Who may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sharing {
    /// Everyone.
    Shared,
    /// One each; a second user gets a fresh one.
    Private,
    /// One after the other.
    Locked,
}

/// Why a mount's option list is refused; the texts are BuildKit's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// The list cannot be split.
    #[error("failed to parse csv mounts: {0}")]
    Csv(#[from] CsvError),
    /// A value cannot be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// An option is wrong.
    #[error("{0}")]
    Option(String),
}

/// The option names that suggestions choose from.
const OPTIONS: &[&str] = &[
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountFlag {
    /// Takes a flag; only its notation and `from` are checked before expansion.
    pub(super) fn new(raw: Word) -> Result<MountFlag, Fault> {
        match deferred(&raw.text) {
            Ok(from) => Ok(MountFlag { raw, from }),
            Err(error) => Err(Fault::new(Code::InvalidMount, error.to_string(), raw.span)),
        }
    }
}

/// Reads what can be known before expansion: `from`.
fn deferred(raw: &str) -> Result<Option<String>, MountError> {
    let mut from = None;
    for field in csv::fields(raw)? {
        let Some((key, value)) = field.split_once('=') else {
            continue;
        };
        if !key.eq_ignore_ascii_case("from") {
            continue;
        }
        let dollar = value.find('$').map(|at| &value[at + 1..]);
        if dollar.is_some_and(|after| !after.is_empty()) {
            let message = "'from' doesn't support variable expansion, define alias stage instead";
            return Err(MountError::Option(message.to_owned()));
        }
        from = Some(value.to_owned());
    }
    Ok(from)
}

impl MountKind {
    /// All types, in the order of the documentation.
    pub const ALL: [MountKind; 5] = [
        MountKind::Bind,
        MountKind::Cache,
        MountKind::Tmpfs,
        MountKind::Secret,
        MountKind::Ssh,
    ];

    /// Returns the type's name.
    pub fn as_str(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Cache => "cache",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Secret => "secret",
            MountKind::Ssh => "ssh",
        }
    }
}

impl Sharing {
    /// All modes.
    pub const ALL: [Sharing; 3] = [Sharing::Shared, Sharing::Private, Sharing::Locked];

    /// Returns the mode's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Sharing::Shared => "shared",
            Sharing::Private => "private",
            Sharing::Locked => "locked",
        }
    }
}

/// Expands the value of an option.
pub type ValueExpander<'a> = dyn FnMut(&str) -> Result<String, ExpandError> + 'a;

impl Mount {
    /// Reads an option list, each value being expanded first.
    ///
    /// Errors: [`MountError`] with BuildKit's text.
    ///
    /// Grammar: dockerfile.ebnf#mount
    pub fn parse(raw: &str, expand: &mut ValueExpander<'_>) -> Result<Mount, MountError> {
        let mut draft = Draft {
            mount: Mount::default(),
            access_given: false,
        };
        for field in csv::fields(raw)? {
            match field.split_once('=') {
                None => draft.switch(&field)?,
                Some((key, value)) => {
                    let value = expand(value)?;
                    draft.option(&key.to_lowercase(), &value, &field)?;
                }
            }
        }
        draft.finish()
    }
}

/// A mount whose options are still being read.
struct Draft {
    mount: Mount,
    access_given: bool,
}

fn refuse<T>(message: impl Into<String>) -> Result<T, MountError> {
    Err(MountError::Option(message.into()))
}

fn invalid_value<T>(key: &str, value: &str) -> Result<T, MountError> {
    refuse(format!("invalid value for {key}: {value}"))
}

fn boolean(key: &str, value: &str) -> Result<bool, MountError> {
    csv::parse_bool(value).map_or_else(|| invalid_value(key, value), Ok)
}

fn number(key: &str, value: &str, radix: u32) -> Result<Option<u32>, MountError> {
    let plain = !value.starts_with('+');
    match u32::from_str_radix(value, radix) {
        Ok(number) if plain => Ok(Some(number)),
        _ => refuse(format!("invalid value {value} for {key}")),
    }
}

impl Draft {
    /// Reads an option without a value.
    ///
    /// Grammar: dockerfile.ebnf#mount-switch
    fn switch(&mut self, field: &str) -> Result<(), MountError> {
        let key = field.to_lowercase();
        match key.as_str() {
            "readonly" | "ro" => self.access(true),
            "readwrite" | "rw" => self.access(false),
            "required" => {
                self.only_for(&key, &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = true;
            }
            _ => return refuse(format!("invalid field '{field}' must be a key=value pair")),
        }
        Ok(())
    }

    fn access(&mut self, read_only: bool) {
        self.mount.read_only = read_only;
        self.access_given = true;
    }

    /// Refuses an option that the type, as far as it is known, does not have.
    fn only_for(&self, key: &str, kinds: &[MountKind]) -> Result<(), MountError> {
        let kind = self.mount.kind;
        match kinds.contains(&kind) {
            true => Ok(()),
            false => refuse(format!(
                "unexpected key '{key}' for mount type '{}'",
                kind.as_str()
            )),
        }
    }

    /// Reads an option with its expanded value.
    ///
    /// Grammar: dockerfile.ebnf#mount-option
    fn option(&mut self, key: &str, value: &str, field: &str) -> Result<(), MountError> {
        let mount = &mut self.mount;
        match key {
            "type" => mount.kind = kind(value)?,
            "from" => value.clone_into(&mut mount.from),
            "source" | "src" => value.clone_into(&mut mount.source),
            "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
            "readonly" | "ro" => self.access(boolean(key, value)?),
            "readwrite" | "rw" => self.access(!boolean(key, value)?),
            "required" => {
                self.only_for(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.mount.required = boolean(key, value)?;
            }
            "size" => {
                self.only_for(key, &[MountKind::Tmpfs])?;
                let size = size::parse_size(value);
                self.mount.size_bytes = size.map_or_else(|| invalid_value(key, value), Ok)?;
            }
            "id" => value.clone_into(&mut mount.id),
            "sharing" => mount.sharing = Some(sharing(value)?),
            "mode" => mount.mode = number(key, value, 8)?,
            "uid" => mount.uid = number(key, value, 10)?,
            "gid" => mount.gid = number(key, value, 10)?,
            "env" => mount.env = Some(value.to_owned()),
            _ => {
                let message = format!("unexpected key '{key}' in '{field}'");
                return refuse(with_suggestion(message, nearest(key, OPTIONS)));
            }
        }
        Ok(())
    }

    /// Checks the options against each other and fills in defaults.
    fn finish(self) -> Result<Mount, MountError> {
        let Draft {
            mut mount,
            access_given,
        } = self;
        let kind = mount.kind;
        let name = kind.as_str();
        if matches!(kind, MountKind::Bind | MountKind::Tmpfs) {
            let owned = [("mode", mount.mode), ("uid", mount.uid), ("gid", mount.gid)];
            if let Some((key, _)) = owned.iter().find(|(_, value)| value.is_some()) {
                return refuse(format!("{key} not allowed for \"{name}\" type mounts"));
            }
        }
        if !access_given {
            mount.read_only = !matches!(kind, MountKind::Cache | MountKind::Tmpfs);
        }
        if kind == MountKind::Secret {
            check_secret(&mount)?;
        }
        if mount.sharing.is_some() && kind != MountKind::Cache {
            return refuse(format!("invalid cache sharing set for {name} mount"));
        }
        Ok(mount)
    }
}

fn check_secret(mount: &Mount) -> Result<(), MountError> {
    if !mount.from.is_empty() {
        return refuse("secret mount should not have a from");
    }
    if mount.sharing.is_some() {
        return refuse("secret mount should not define sharing");
    }
    if mount.source.is_empty() && mount.target.is_empty() && mount.id.is_empty() {
        return refuse("invalid secret mount. one of source, target required");
    }
    if !mount.source.is_empty() && !mount.id.is_empty() {
        return refuse("both source and id can't be set");
    }
    Ok(())
}

fn kind(value: &str) -> Result<MountKind, MountError> {
    let lower = value.to_lowercase();
    let mut all = MountKind::ALL.into_iter();
    match all.find(|kind| kind.as_str() == lower) {
        Some(kind) => Ok(kind),
        None => {
            let message = format!("unsupported mount type {}", go_quote(value));
            let names = MountKind::ALL.map(MountKind::as_str);
            refuse(with_suggestion(message, nearest(value, &names)))
        }
    }
}

fn sharing(value: &str) -> Result<Sharing, MountError> {
    let lower = value.to_lowercase();
    let mut all = Sharing::ALL.into_iter();
    match all.find(|mode| mode.as_str() == lower) {
        Some(mode) => Ok(mode),
        None => {
            let message = format!("unsupported sharing value {}", go_quote(value));
            let names = Sharing::ALL.map(Sharing::as_str);
            refuse(with_suggestion(message, nearest(value, &names)))
        }
    }
}

#[cfg(test)]
mod tests;
