//! Device nodes in a step's `/dev`.
//!
//! They are made on our own tmpfs, or cloned from the host after their numbers were checked by descriptor.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, fstat, major, makedev, minor, mkdirat, mknodat};
use rustix::io::Errno;

use crate::attach::{attach, clone_of_host};
use crate::place;
use crate::role::Rung;
use crate::spec::Security;

/// Name below `/dev`, kind, major and minor number. Source: devices.txt of the kernel.
type Node = (&'static str, FileType, u32, u32);

/// What every container has.
const USUAL: [Node; 6] = [
    ("null", FileType::CharacterDevice, 1, 3),
    ("zero", FileType::CharacterDevice, 1, 5),
    ("full", FileType::CharacterDevice, 1, 7),
    ("random", FileType::CharacterDevice, 1, 8),
    ("urandom", FileType::CharacterDevice, 1, 9),
    ("tty", FileType::CharacterDevice, 5, 0),
];

/// What a step outside the sandbox has besides, as under BuildKit; the loop devices follow.
const INSECURE: [Node; 6] = [
    ("kmsg", FileType::CharacterDevice, 1, 11),
    ("cuse", FileType::CharacterDevice, 10, 203),
    ("fuse", FileType::CharacterDevice, 10, 229),
    ("kvm", FileType::CharacterDevice, 10, 232),
    ("net/tun", FileType::CharacterDevice, 10, 200),
    ("loop-control", FileType::CharacterDevice, 10, 237),
];

/// Major number of loop devices.
const LOOP: u32 = 7;
/// Loop devices beyond the host's last one: those that the step itself adds get these numbers.
const SPARE_LOOPS: u32 = 8;
/// Kernels that count higher have been told to; nodes for all of them would fill the `/dev`.
const MOST_LOOPS: u32 = 256;

/// Fills `dev`, the root of a tmpfs of our own, with the nodes that `security` allows.
///
/// A user namespace may use none of the devices of [`INSECURE`], so they are left out there.
pub(crate) fn make(dev: &OwnedFd, rung: Rung, security: Security) -> Result<(), String> {
    let explain = |name: &str, error: Errno| format!("{name}: {error}");
    for node in USUAL {
        match rung.is_rootless() {
            false => make_node(dev, node).map_err(|error| explain(node.0, error))?,
            true => clone_node(dev, node)?,
        }
    }
    if security != Security::Insecure || rung.is_rootless() {
        return Ok(());
    }
    mkdirat(dev, "net", Mode::from_raw_mode(0o755)).map_err(|error| explain("net", error))?;
    let loops =
        (0..loops()).map(|number| (format!("loop{number}"), FileType::BlockDevice, LOOP, number));
    let others = INSECURE.map(|(name, kind, major, minor)| (name.to_owned(), kind, major, minor));
    for (name, kind, major, minor) in others.into_iter().chain(loops) {
        match make_node(dev, (&name, kind, major, minor)) {
            // A container that rbuild runs in may allow the usual nodes only: no step can have others then.
            Ok(()) | Err(Errno::PERM) => {}
            Err(error) => return Err(explain(&name, error)),
        }
    }
    Ok(())
}

/// Makes one node that everyone may use; the umask is 0 here.
fn make_node(
    dev: &OwnedFd,
    (name, kind, major, minor): (&str, FileType, u32, u32),
) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(0o666);
    mknodat(dev, name, kind, mode, makedev(major, minor))
}

/// Mounts the host's node: a user namespace may not make any.
fn clone_node(dev: &OwnedFd, (name, kind, major_number, minor_number): Node) -> Result<(), String> {
    let explain = |error: Errno| format!("{name}: {error}");
    let host = clone_of_host(&Path::new("/dev").join(name)).map_err(explain)?;
    let stat = fstat(&host).map_err(explain)?;
    let number = (major(stat.st_rdev), minor(stat.st_rdev));
    if place::file_type(&stat) != kind || number != (major_number, minor_number) {
        return Err(format!("{name}: the host's /dev/{name} is another device"));
    }
    place::make_file(dev.as_fd(), name.as_ref(), Mode::from_raw_mode(0o666)).map_err(explain)?;
    let place = place::open_name(dev.as_fd(), name.as_ref()).map_err(explain)?;
    attach(&host, &place).map_err(explain)
}

/// How many loop devices a step gets: the host's, and a few that it may add.
fn loops() -> u32 {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| loop_number(entry.file_name().to_str()?));
    let next = numbers.max().map_or(0, |last| last.saturating_add(1));
    next.saturating_add(SPARE_LOOPS).min(MOST_LOOPS)
}

fn loop_number(name: &str) -> Option<u32> {
    name.strip_prefix("loop")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_loop_devices_count() {
        assert_eq!(loop_number("loop12"), Some(12));
        for other in ["loop", "loop1p1", "sda", "loop-control"] {
            assert_eq!(loop_number(other), None, "{other}");
        }
        assert!((SPARE_LOOPS..=MOST_LOOPS).contains(&loops()));
    }
}
