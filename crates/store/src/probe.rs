//! Whether a store still is where, or as, it was sealed: trees live by owners, attributes and devices that many
//! ways to copy leave behind, and that an overlay takes for its own.
//!
//! A whiteout that is lost brings a deleted file back, so a tree must not be used on trust. Sealing leaves a
//! folder with one of each; whoever opens the store looks what became of them.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, getxattr, makedev, mknodat, setxattr};
use rustix::process::geteuid;

/// Owner and group that no copy by another user's hands gives a file.
const OWNER: (u32, u32) = (12_345, 54_321);

/// What overlays mark opaque directories with.
const MARKS: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// Makes the folder anew, with as much in it as this user may make.
pub(crate) fn leave(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(dir)?;
    // What cannot be made here is in no tree either.
    for mark in MARKS {
        setxattr(dir, mark, b"y", XattrFlags::empty()).ok();
    }
    let mode = Mode::from_raw_mode(0);
    let device = FileType::CharacterDevice;
    mknodat(CWD, dir.join("whiteout"), device, mode, makedev(0, 0)).ok();
    let owned = dir.join("owned");
    fs::write(&owned, "")?;
    chown(&owned, Some(OWNER.0), Some(OWNER.1)).ok();
    Ok(())
}

/// Describes what is in the folder.
pub(crate) fn found(dir: &Path) -> String {
    let mut words = Vec::new();
    for mark in MARKS {
        let mut value = [0; 4];
        if getxattr(dir, mark, &mut value) == Ok(1) {
            words.push(mark.to_owned());
        }
    }
    for name in ["whiteout", "owned"] {
        if let Ok(meta) = fs::symlink_metadata(dir.join(name)) {
            let (kind, device) = (meta.mode() & 0o170_000, meta.rdev());
            words.push(format!(
                "{name} {kind:o} {device} {}:{}",
                meta.uid(),
                meta.gid()
            ));
        }
    }
    // Only root's copies can have all owners: of others the very directory counts, which may move.
    if !geteuid().is_root() {
        let inode = fs::symlink_metadata(dir).map_or(0, |meta| meta.ino());
        words.push(format!("inode {inode}"));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_careless_copy_loses_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let probe = dir.path().join("probe");
        leave(&probe).unwrap();
        let whole = found(&probe);
        assert!(whole.contains("whiteout 20000 0"), "{whole}");
        leave(&probe).unwrap();
        fs::rename(&probe, dir.path().join("moved")).unwrap();
        let probe = dir.path().join("moved");
        assert_eq!(
            found(&probe).split(", inode").next(),
            whole.split(", inode").next()
        );
        fs::remove_file(probe.join("whiteout")).unwrap();
        assert_ne!(found(&probe), whole);
        leave(&probe).unwrap();
        for mark in MARKS {
            rustix::fs::removexattr(&probe, mark).ok();
        }
        assert_ne!(found(&probe), whole);
        fs::remove_dir_all(&probe).unwrap();
        assert_ne!(found(&probe), whole);
    }
}
