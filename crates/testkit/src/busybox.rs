//! A small root file system from Debian's static busybox, for RUN steps without a network.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::tool::need_tool;
use crate::{Image, TempDir, Tree, run, write_layout};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
    www-data:x:33:33:www-data:/var/www:/bin/false\n\
    nobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nnogroup:x:65534:\n";

/// Writes the root file system into the empty directory `root`.
///
/// `bin/busybox` with a link for every applet, accounts, `/tmp` (mode 1777), `/root` and the usual empty
/// directories. Panics when the busybox at hand is not a static one: a step could not start it.
pub fn busybox_rootfs(root: &Path) {
    let busybox = need_tool("busybox");
    let applets = run(
        Command::new(&busybox).arg("--list"),
        Duration::from_secs(10),
    )
    .expect_success()
    .stdout;
    let bytes = fs::read(&busybox).unwrap_or_else(|error| panic!("read {busybox:?}: {error}"));
    assert!(
        !bytes
            .windows(14)
            .any(|window| window == b"/lib64/ld-linu".as_slice()),
        "{busybox:?} is dynamically linked; install Debian's package `busybox-static`"
    );
    let mut tree = Tree::new()
        .file("bin/busybox", bytes)
        .mode(0o755)
        .file("etc/passwd", PASSWD)
        .file("etc/group", GROUP)
        .dir("root")
        .mode(0o700)
        .dir("tmp")
        .mode(0o1777)
        .dir("var/tmp")
        .mode(0o1777);
    for dir in [
        "dev", "home", "proc", "sys", "usr/bin", "usr/sbin", "sbin", "var/www",
    ] {
        tree = tree.dir(dir);
    }
    for applet in applets.lines().filter(|name| *name != "busybox") {
        tree = tree.symlink(&format!("bin/{applet}"), "busybox");
    }
    tree.write_to(root);
}

/// Writes the root file system as an OCI layout into `layout`, tagged `latest`, and returns its digest.
///
/// Owner 0:0 and time 0 throughout, whoever runs it, so that every machine gets the same digest from the
/// same busybox.
pub fn busybox_layout(layout: &Path) -> String {
    let work = TempDir::new();
    let (root, archive) = (work.join("root"), work.join("root.tar"));
    fs::create_dir(&root).unwrap_or_else(|error| panic!("make {root:?}: {error}"));
    busybox_rootfs(&root);
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--numeric-owner",
        "--owner=0",
        "--group=0",
        "--mtime=@0",
        "-cf",
    ])
    .arg(&archive)
    .arg("-C")
    .arg(&root)
    .arg(".");
    run(&mut tar, Duration::from_secs(60)).expect_success();
    write_layout(layout, &Image::new("latest", &archive, &["sh"]))
        .unwrap_or_else(|error| panic!("write {layout:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Listing;

    #[test]
    fn rootfs_has_a_shell_and_an_open_tmp() {
        let dir = TempDir::new();
        busybox_rootfs(&dir);
        let listing = Listing::of(&dir);
        assert!(
            listing
                .get("bin/sh")
                .is_some_and(|line| line.ends_with("-> busybox"))
        );
        assert!(
            listing
                .get("tmp")
                .is_some_and(|line| line.starts_with("dir 1777"))
        );
    }
}
