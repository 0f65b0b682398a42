//! Which rights the nursery works with: root's, a range of subordinate ids, or one id.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_sys::{Capabilities, IdRange};
use rustix::process::{getgid, getuid};

use crate::{Error, Result};

/// How the nursery comes by the rights it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NurseryMode {
    /// Root with `CAP_SYS_ADMIN`: no user namespace.
    Root,
    /// A user namespace in which 0 is the calling user and 1… are these ranges, in order.
    Subordinate {
        /// Ranges of user ids from `/etc/subuid`.
        uids: Vec<IdRange>,
        /// Ranges of group ids from `/etc/subgid`.
        gids: Vec<IdRange>,
    },
    /// A user namespace with id 0 only: `chown` and the like succeed without acting.
    SingleId,
}

/// Set-user-id helpers of the `uidmap` package.
const HELPERS: [&str; 2] = ["newuidmap", "newgidmap"];
/// Where they may lie. `PATH` is not asked: libraries read no environment.
const HELPER_DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];

impl NurseryMode {
    /// Picks the best mode that works here, by trying. Costs about a millisecond.
    ///
    /// Errors: [`Error::Unsupported`] when neither root's rights nor a user namespace can be had.
    pub fn probe() -> Result<Self> {
        let host = Capabilities::probe();
        if host.admin {
            return Ok(Self::Root);
        }
        if let Err(errno) = host.user_namespace {
            return Err(Error::Unsupported {
                detail: format!(
                    "user namespaces are refused ({errno}); allow them (sysctl user.max_user_namespaces, \
                     kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), or run as root"
                ),
            });
        }
        let uids = ranges("/etc/subuid");
        let gids = ranges("/etc/subgid");
        if uids.is_empty() || gids.is_empty() || HELPERS.iter().any(|name| !is_usable(name)) {
            return Ok(Self::SingleId);
        }
        Ok(Self::Subordinate { uids, gids })
    }

    /// Writes the id maps of process `pid`, which waits in a new user namespace.
    pub(crate) fn write_maps(&self, pid: u32) -> Result<()> {
        let Self::Subordinate { uids, gids } = self else {
            return Ok(());
        };
        map_with("newuidmap", pid, getuid().as_raw(), uids)?;
        map_with("newgidmap", pid, getgid().as_raw(), gids)
    }
}

/// Returns the ranges that `file` grants to the calling user, by number or by name.
fn ranges(file: &str) -> Vec<IdRange> {
    let uid = getuid().as_raw();
    // Read, not asked of the C library: a static binary has no name service, and the helpers read files too.
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let names: Vec<&str> = passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
        })
        .collect();
    let table = fs::read_to_string(file).unwrap_or_default();
    parse_ranges(&table, uid, &names)
}

/// Picks the lines `owner:start:count` whose owner is the user. Source: subuid(5).
fn parse_ranges(table: &str, uid: u32, names: &[&str]) -> Vec<IdRange> {
    let number = uid.to_string();
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let start = fields.next()?.parse().ok()?;
            let count: u32 = fields.next()?.parse().ok()?;
            let ours = owner == number || names.contains(&owner);
            (ours && count > 0).then_some(IdRange { start, count })
        })
        .collect()
}

/// Returns where a helper lies.
fn helper_path(name: &str) -> Option<PathBuf> {
    HELPER_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

/// Tells whether a helper could gain the right to write maps: installed, privileged by set-uid or by file
/// capability, and we may gain privilege by executing it.
fn is_usable(name: &str) -> bool {
    let Some(path) = helper_path(name) else {
        return false;
    };
    let set_uid =
        fs::metadata(&path).is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o4000 != 0);
    let capable = || {
        let mut value = [0_u8; 64];
        rustix::fs::getxattr(&path, "security.capability", &mut value).is_ok()
    };
    (set_uid || capable()) && !rustix::thread::no_new_privs().unwrap_or(false)
}

/// Runs one helper: id 0 is `own`, ids from 1 are the ranges.
fn map_with(name: &'static str, pid: u32, own: u32, ranges: &[IdRange]) -> Result<()> {
    let failed = |detail: String| Error::IdMap { detail };
    let path = helper_path(name)
        .ok_or_else(|| failed(format!("{name} is not installed (package uidmap)")))?;
    let output = Command::new(path)
        .args(map_arguments(pid, own, ranges))
        .output()
        .map_err(|error: io::Error| failed(format!("run {name}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!(
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// Returns a helper's arguments: the process, then triples of (inside, outside, count).
fn map_arguments(pid: u32, own: u32, ranges: &[IdRange]) -> Vec<String> {
    let mut arguments = vec![pid.to_string(), "0".into(), own.to_string(), "1".into()];
    let mut inside: u32 = 1;
    for range in ranges {
        arguments.extend([inside, range.start, range.count].map(|number| number.to_string()));
        inside = inside.saturating_add(range.count);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_belong_to_the_user_by_name_or_number() {
        let table = "ann:100000:65536\n# comment\n1000:300000:10\nbob:1:1\nann:bad:1\nann:5:0\n";
        let range = |start, count| IdRange { start, count };
        assert_eq!(
            parse_ranges(table, 1000, &["ann"]),
            [range(100_000, 65_536), range(300_000, 10)]
        );
        assert_eq!(parse_ranges(table, 7, &[]), []);
    }

    #[test]
    fn maps_put_the_ranges_after_the_own_id() {
        let ranges = [
            IdRange {
                start: 100_000,
                count: 10,
            },
            IdRange {
                start: 500,
                count: 2,
            },
        ];
        assert_eq!(
            map_arguments(42, 1000, &ranges).join(" "),
            "42 0 1000 1 1 100000 10 11 500 2"
        );
    }
}
