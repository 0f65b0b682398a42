//! Programs of other machines: whether the kernel knows who runs them.
//!
//! It is asked what it would do with the head of such a program: names of registrations are whoever's
//! choice. Source: Documentation/admin-guide/binfmt-misc.rst.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_oci::Platform;

use crate::{Error, Result};

/// Where the kernel lists what is registered.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// Fails unless programs for `wanted` run on this machine.
pub(crate) fn check(wanted: &Platform) -> Result<()> {
    let host = Platform::host();
    if is_native(&wanted.architecture, &host.architecture) {
        return Ok(());
    }
    let reason = match emulator_in(Path::new(REGISTERED), &wanted.architecture) {
        Emulator::Works => return Ok(()),
        Emulator::Outside(program) => format!(
            "its emulator {} is registered without the flag F, so that it is not found inside a step",
            program.display()
        ),
        Emulator::Off => "its emulator is registered, but switched off".to_owned(),
        Emulator::Missing => "no emulator for it is registered".to_owned(),
    };
    Err(Error::Platform {
        wanted: wanted.to_string(),
        host: host.to_string(),
        reason,
    })
}

fn is_native(wanted: &str, host: &str) -> bool {
    wanted == host || (host == "amd64" && wanted == "386")
}

/// What the kernel has for an architecture.
#[derive(Debug, PartialEq, Eq)]
enum Emulator {
    /// One that every root file system can use.
    Works,
    /// One that is looked for in the root file system of the step.
    Outside(PathBuf),
    /// One that somebody disabled, or all are.
    Off,
    /// None.
    Missing,
}

fn emulator_in(registered: &Path, architecture: &str) -> Emulator {
    let Some(head) = program_head(architecture) else {
        return Emulator::Missing;
    };
    // Not mounted, or not to be read: nothing is known then.
    let entries = fs::read_dir(registered).into_iter().flatten().flatten();
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    entries.sort();
    let off = fs::read_to_string(registered.join("status")).is_ok_and(|s| s.trim() == "disabled");
    let texts = entries
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok());
    let mut found = Emulator::Missing;
    for entry in texts.filter_map(|text| Entry::parse(&text)) {
        if !entry.takes(&head) {
            continue;
        }
        match (entry.enabled && !off, entry.fixed) {
            (true, true) => return Emulator::Works,
            (true, false) => found = Emulator::Outside(entry.interpreter),
            (false, _) if found == Emulator::Missing => found = Emulator::Off,
            (false, _) => {}
        }
    }
    found
}

/// One registration by magic bytes.
struct Entry {
    enabled: bool,
    /// Flag F: the interpreter was opened when it was registered.
    fixed: bool,
    interpreter: PathBuf,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Entry {
    /// Reads the text of an entry; `None` for one by file name, and for `status` and `register`.
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(name).map(str::trim))
        };
        let magic = bytes(field("magic ")?)?;
        let mask = field("mask ").map_or(Some(vec![0xff; magic.len()]), bytes)?;
        Some(Self {
            enabled: text.lines().next() == Some("enabled"),
            fixed: field("flags:")?.contains('F'),
            interpreter: field("interpreter ")?.into(),
            offset: field("offset ")?.parse().ok()?,
            magic,
            mask,
        })
    }

    fn takes(&self, head: &[u8]) -> bool {
        let part = head.get(self.offset..).unwrap_or_default();
        let mut triples = part.iter().zip(&self.magic).zip(&self.mask);
        part.len() >= self.magic.len()
            && triples.all(|((byte, magic), mask)| (byte ^ magic) & mask == 0)
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// The first bytes of a static program for an architecture.
///
/// Source: elf.h: class, byte order, and machine.
fn program_head(architecture: &str) -> Option<[u8; 20]> {
    const CLASS_32: u8 = 1;
    const CLASS_64: u8 = 2;
    let (class, machine) = match architecture {
        "386" => (CLASS_32, 3_u16.to_le_bytes()),
        "amd64" => (CLASS_64, 62_u16.to_le_bytes()),
        "arm" => (CLASS_32, 40_u16.to_le_bytes()),
        "arm64" => (CLASS_64, 183_u16.to_le_bytes()),
        "loong64" => (CLASS_64, 258_u16.to_le_bytes()),
        "mips64le" => (CLASS_64, 8_u16.to_le_bytes()),
        "ppc64le" => (CLASS_64, 21_u16.to_le_bytes()),
        "riscv64" => (CLASS_64, 243_u16.to_le_bytes()),
        "mips64" => (CLASS_64, 8_u16.to_be_bytes()),
        "s390x" => (CLASS_64, 22_u16.to_be_bytes()),
        _ => return None,
    };
    let big = matches!(architecture, "s390x" | "mips64");
    let (order, executable) = match big {
        false => (1, 2_u16.to_le_bytes()),
        true => (2, 2_u16.to_be_bytes()),
    };
    let mut head = [0; 20];
    let fields = [0x7f, b'E', b'L', b'F', class, order, 1]
        .into_iter()
        .zip(0..)
        .chain(executable.into_iter().zip(16..))
        .chain(machine.into_iter().zip(18..));
    for (byte, at) in fields {
        let at: usize = at;
        if let Some(place) = head.get_mut(at) {
            *place = byte;
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian's qemu-user-static registers it.
    const ARM64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\n\
        offset 0\nmagic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";
    const S390X: &str = "enabled\ninterpreter /usr/bin/qemu-s390x-static\nflags: F\noffset 0\n\
        magic 7f454c4602020100000000000000000000020016\n\
        mask ffffffffffffff00fffffffffffffffffffeffff\n";

    fn registered(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("register"), "").unwrap();
        for (name, text) in [("status", "enabled\n")].iter().chain(entries) {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn an_emulator_is_known_by_what_it_takes() {
        let dir = registered(&[("whatever", ARM64), ("other", S390X), ("java", "enabled\n")]);
        let of = |architecture| emulator_in(dir.path(), architecture);
        assert_eq!(of("arm64"), Emulator::Works);
        assert_eq!(of("s390x"), Emulator::Works);
        for other in ["arm", "riscv64", "amd64", "mips64", "unheard-of"] {
            assert_eq!(of(other), Emulator::Missing, "{other}");
        }
    }

    #[test]
    fn one_that_no_step_would_find_is_none() {
        let plain = ARM64.replace("POCF", "OC");
        let dir = registered(&[("qemu-aarch64", &plain)]);
        let expected = PathBuf::from("/usr/libexec/qemu-binfmt/aarch64-binfmt-P");
        assert_eq!(
            emulator_in(dir.path(), "arm64"),
            Emulator::Outside(expected)
        );
        let off = ARM64.replace("enabled", "disabled");
        let dir = registered(&[("qemu-aarch64", &off)]);
        assert_eq!(emulator_in(dir.path(), "arm64"), Emulator::Off);
        let dir = registered(&[("qemu-aarch64", ARM64), ("status", "disabled\n")]);
        assert_eq!(emulator_in(dir.path(), "arm64"), Emulator::Off);
        assert_eq!(
            emulator_in(&dir.path().join("none"), "arm64"),
            Emulator::Missing
        );
    }

    #[test]
    fn some_foreign_programs_run_as_they_are() {
        assert!(is_native("386", "amd64"));
        assert!(!is_native("amd64", "386"));
        assert!(!is_native("arm64", "amd64"));
    }
}
