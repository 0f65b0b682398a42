//! The options of a mount, one by one and against each other.

use super::size::parse_size;
use super::{Mount, MountError, MountKind, Sharing};
use crate::csv;
use crate::quote::go_quote;
use crate::suggest::{nearest, with_suggestion};

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

/// A mount whose options are still being read.
#[derive(Default)]
pub(super) struct Draft {
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
    pub(super) fn switch(&mut self, field: &str) -> Result<(), MountError> {
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
    pub(super) fn option(&mut self, key: &str, value: &str, field: &str) -> Result<(), MountError> {
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
                let size = parse_size(value);
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
    pub(super) fn finish(self) -> Result<Mount, MountError> {
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
