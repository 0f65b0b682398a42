//! Owners by name, looked up in the image's own account files.

use std::io::Read;

use rbuild_graph::{Owner, OwnerId};
use rbuild_layer::{FileView, Follow, NodeKind, resolve};

use crate::{Error, Result};

/// Largest account file that is read.
const MAX_ACCOUNT_BYTES: u64 = 10 << 20;

/// A numeric owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What an owner turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The numbers.
    pub ids: Ids,
    /// Names that the image does not know; they became 0, as in BuildKit.
    pub unknown: Vec<String>,
}

/// Whether there are account files to look in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accounts {
    /// Those of the root file system.
    OfRoot,
    /// None: an empty root.
    Absent,
}

/// Looks an owner up.
///
/// A lone number is user and group; a lone name brings its primary group. `root` is 0 without a
/// look. Errors: a name where there are no account files at all.
pub(crate) fn look_up(owner: &Owner, root: &dyn FileView, accounts: Accounts) -> Result<Found> {
    let mut unknown = Vec::new();
    let (uid, primary) = match &owner.user {
        OwnerId::Id(id) => (*id, *id),
        OwnerId::Name(name) => user(name, root, accounts, &mut unknown)?,
    };
    let gid = match &owner.group {
        None => primary,
        Some(OwnerId::Id(id)) => *id,
        Some(OwnerId::Name(name)) => group(name, root, accounts, &mut unknown)?,
    };
    Ok(Found {
        ids: Ids { uid, gid },
        unknown,
    })
}

fn user(
    name: &str,
    root: &dyn FileView,
    accounts: Accounts,
    unknown: &mut Vec<String>,
) -> Result<(u32, u32)> {
    if name == "root" || name.is_empty() {
        return Ok((0, 0));
    }
    if accounts == Accounts::Absent {
        return Err(Error::NoAccounts {
            name: name.to_owned(),
        });
    }
    let text = account_file(root, "etc/passwd")?;
    for line in text.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [found, _, uid, gid, ..] = fields[..]
            && found == name
            && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
        {
            return Ok((uid, gid));
        }
    }
    unknown.push(name.to_owned());
    Ok((0, 0))
}

fn group(
    name: &str,
    root: &dyn FileView,
    accounts: Accounts,
    unknown: &mut Vec<String>,
) -> Result<u32> {
    if name == "root" {
        return Ok(0);
    }
    if accounts == Accounts::Absent {
        return Err(Error::NoAccounts {
            name: name.to_owned(),
        });
    }
    let text = account_file(root, "etc/group")?;
    for line in text.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [found, _, gid, ..] = fields[..]
            && found == name
            && let Ok(gid) = gid.parse()
        {
            return Ok(gid);
        }
    }
    unknown.push(name.to_owned());
    Ok(0)
}

/// Reads an account file of the image; a missing one is empty.
fn account_file(root: &dyn FileView, file: &str) -> Result<String> {
    let found = match resolve(root, file.as_bytes(), Follow::Last) {
        Err(rbuild_layer::Error::NotADirectory { .. }) => return Ok(String::new()),
        other => other?,
    };
    if !found.exists() {
        return Ok(String::new());
    }
    match found.node.kind {
        NodeKind::File { size } if size <= MAX_ACCOUNT_BYTES => {}
        _ => {
            return Err(Error::AccountFile {
                path: format!("/{file}"),
            });
        }
    }
    let mut bytes = Vec::new();
    let mut reader = root.open(&found.path)?.take(MAX_ACCOUNT_BYTES);
    reader
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Read {
            path: format!("/{file}"),
            source,
        })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
