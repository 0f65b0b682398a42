//! Which rights the nursery works with: root's, a range of subordinate ids, or one id.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_sys::{IdRange, probe};
use rustix::process::{geteuid, getgid, getuid};
use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set};

use crate::{Error, Result};

/// How the nursery comes by the rights it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NurseryMode {
    /// Root with `CAP_SYS_ADMIN` in the first user namespace: none of our own is needed.
    Root,
    /// Root with less than that, as in a container: a user namespace with the ids of the calling one, which
    /// are these ranges, each mapped to itself.
    Nested {
        /// Ranges of user ids that the calling namespace has.
        uids: Vec<IdRange>,
        /// Ranges of group ids that it has.
        gids: Vec<IdRange>,
    },
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
    /// Picks the best mode that works here, by trying. Costs next to nothing with all of root's rights, and
    /// half a millisecond without.
    ///
    /// Errors: [`Error::Unsupported`] when neither root's rights nor a user namespace can be had.
    pub fn probe() -> Result<Self> {
        if probe::is_admin() && probe::in_first_user_namespace() {
            return Ok(Self::Root);
        }
        if let Err(errno) = probe::user_namespace() {
            return Err(Error::Unsupported {
                detail: format!(
                    "user namespaces are refused ({errno}); allow them (sysctl user.max_user_namespaces, \
                     kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), or run as root"
                ),
            });
        }
        match geteuid().is_root() {
            true => Self::of_limited_root(),
            false => Ok(Self::of_user()),
        }
    }

    /// Picks the mode of root whose rights are cut down, or end at a user namespace.
    fn of_limited_root() -> Result<Self> {
        let rights = capabilities(None)
            .map(|sets| sets.effective)
            .unwrap_or(CapabilitySet::empty());
        // Who has not that one may not map id 0, be it to itself. Source: user_namespaces(7), Linux 5.12.
        if !rights.contains(CapabilitySet::SETFCAP) {
            return Err(Error::Unsupported {
                detail: "root without CAP_SETFCAP cannot use a user namespace; grant that capability, or run \
                         as another user"
                    .to_owned(),
            });
        }
        if !rights.contains(CapabilitySet::SETUID | CapabilitySet::SETGID) {
            return Ok(Self::of_user());
        }
        let uids = mapped("/proc/self/uid_map");
        let gids = mapped("/proc/self/gid_map");
        Ok(match number_of(&uids) > 1 && number_of(&gids) > 1 {
            true => Self::Nested { uids, gids },
            false => Self::SingleId,
        })
    }

    /// Picks the mode of a user, by what root has granted.
    fn of_user() -> Self {
        let uids = ranges("/etc/subuid");
        let gids = ranges("/etc/subgid");
        if uids.is_empty() || gids.is_empty() || HELPERS.iter().any(|name| !is_usable(name)) {
            return Self::SingleId;
        }
        Self::Subordinate { uids, gids }
    }

    /// Writes the id maps of process `pid`, which waits in a new user namespace.
    pub(crate) fn write_maps(&self, pid: u32) -> Result<()> {
        match self {
            Self::Root | Self::SingleId => Ok(()),
            Self::Nested { uids, gids } => {
                write_map(pid, "uid_map", uids)?;
                write_map(pid, "gid_map", gids)
            }
            Self::Subordinate { uids, gids } => {
                map_with("newuidmap", pid, getuid().as_raw(), uids)?;
                map_with("newgidmap", pid, getgid().as_raw(), gids)
            }
        }
    }
}

/// Returns the ids that a map of the calling namespace has, as it counts them.
fn mapped(file: &str) -> Vec<IdRange> {
    parse_map(&fs::read_to_string(file).unwrap_or_default())
}

/// Reads lines of (inside, outside, count). Source: user_namespaces(7).
fn parse_map(text: &str) -> Vec<IdRange> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            let start = numbers.next()?.ok()?;
            let count = numbers.nth(1)?.ok()?;
            Some(IdRange { start, count })
        })
        .collect()
}

/// Counts the ids in ranges.
fn number_of(ranges: &[IdRange]) -> u64 {
    ranges.iter().map(|range| u64::from(range.count)).sum()
}

/// Maps ranges to themselves.
fn write_map(pid: u32, file: &str, ranges: &[IdRange]) -> Result<()> {
    let text: String = ranges
        .iter()
        .map(|IdRange { start, count }| format!("{start} {start} {count}\n"))
        .collect();
    let path = format!("/proc/{pid}/{file}");
    // In one call: a map can be written only once.
    fs::write(&path, text).map_err(|error| Error::IdMap {
        detail: format!("write {path}: {error}"),
    })
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
/// capability, and we may gain privilege, and that one, by executing it.
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
    let bounded = |right| capability_is_in_bounding_set(right).unwrap_or(false);
    (set_uid || capable())
        && !rustix::thread::no_new_privs().unwrap_or(false)
        && bounded(CapabilitySet::SETUID)
        && bounded(CapabilitySet::SETGID)
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
    fn a_map_tells_which_ids_there_are() {
        let range = |start, count| IdRange { start, count };
        let text = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(parse_map(text), [range(0, 1), range(1, 65_536)]);
        assert_eq!(number_of(&parse_map(text)), 65_537);
        assert_eq!(
            number_of(&parse_map("0 0 4294967295\n")),
            4_294_967_295,
            "the map of the first namespace"
        );
        assert_eq!(parse_map("garbage\n0 0\n"), []);
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
