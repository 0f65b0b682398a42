//! RUN --mount: the option list before and after expansion.

mod option;
mod size;

use crate::csv::{self, CsvError};
use crate::diagnostic::{Code, Fault};
use crate::expand::ExpandError;
use crate::word::Word;
use option::Draft;

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
        let mut draft = Draft::default();
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

#[cfg(test)]
mod tests;
