//! A shell for another processor and the emulator that runs it, out of Debian packages that are not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rbuild_testkit::TempDir;

use crate::shell;

/// Names the folder for the tests.
pub const VARIABLE: &str = "RBUILD_FOREIGN";

/// Packages, and where in them is what, under which name it is kept.
const WANTED: [(&str, &[&str], &str); 2] = [
    (
        "qemu-user-static",
        &["usr/bin/qemu-aarch64-static"],
        "qemu-aarch64-static",
    ),
    (
        "busybox-static:arm64",
        &["bin/busybox", "usr/bin/busybox"],
        "busybox-arm64",
    ),
];

/// Returns the folder with `qemu-aarch64-static` and `busybox-arm64`; fetches them if they are not there yet.
///
/// Nothing on the machine changes: apt works with lists of its own, and packages are only unpacked. `None` on a
/// machine that is itself what would be emulated.
pub fn ensure() -> Result<Option<PathBuf>> {
    if cfg!(target_arch = "aarch64") {
        return Ok(None);
    }
    let folder = shell::target_dir().join("foreign");
    if WANTED.iter().all(|(_, _, name)| folder.join(name).exists()) {
        return Ok(Some(folder));
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let work = TempDir::new_in(&folder);
    let packages: Vec<&str> = WANTED.iter().map(|(package, ..)| *package).collect();
    shell::say(&format!("fetching, not installing: {}", packages.join(" ")));
    apt_get(&work, &["update"])?;
    for (package, paths, name) in WANTED {
        let unpacked = work.join(name);
        apt_get(&work, &["download", package])?;
        let archive = only_package_in(&work)?;
        let mut unpack = Command::new("dpkg-deb");
        shell::output(unpack.arg("-x").arg(&archive).arg(&unpacked))?;
        fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
        let mut found = paths.iter().map(|path| unpacked.join(path));
        let Some(program) = found.find(|path| path.exists()) else {
            bail!("{package} has none of {}", paths.join(", "));
        };
        let kept = folder.join(name);
        fs::rename(&program, &kept).with_context(|| format!("keep {}", kept.display()))?;
    }
    Ok(Some(folder))
}

/// Runs apt-get in `work`, with the machine's sources and settings but lists of its own.
fn apt_get(work: &Path, words: &[&str]) -> Result<()> {
    let (lists, cache) = (work.join("lists"), work.join("cache"));
    for folder in [lists.join("partial"), cache.join("archives/partial")] {
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let mut apt = Command::new("apt-get");
    apt.current_dir(work).arg("-q").args(words);
    for option in [
        "APT::Architectures::=arm64".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "Acquire::Languages=none".to_owned(),
        format!("Dir::State::lists={}", lists.display()),
        format!("Dir::Cache={}", cache.display()),
    ] {
        apt.arg("-o").arg(option);
    }
    shell::output(apt.stdin(Stdio::null())).map(drop)
}

fn only_package_in(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .with_context(|| format!("apt-get left no package in {}", folder.display()))
}
