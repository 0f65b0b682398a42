//! Other people's tools judge what rbuild made: Docker, skopeo and umoci.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rbuild_testkit::{TempDir, need_tool, repository_root};

use crate::load_judge;
use crate::packages;
use crate::shell::{self, command, say, show, step};

const IMAGE: &str = "my_first_image";

/// Has the image of the demo judged; Docker only where the folder beside the repository brings one.
pub fn judges() -> Result<()> {
    packages::ensure(&["skopeo", "umoci"])?;
    let binary = shell::target_dir().join("release/rbuild");
    if !binary.exists() {
        bail!("run `cargo xtask demo` first: it builds the image to judge");
    }
    let work = TempDir::new();
    let layout = work.join("layout.tar");
    let docker = work.join("docker.tar");
    step("Archives of the image");
    show(
        command(&binary)
            .args(["save", "--format", "oci", "-o"])
            .arg(&layout)
            .arg(IMAGE),
    )?;
    show(
        command(&binary)
            .args(["save", "--format", "docker", "-o"])
            .arg(&docker)
            .arg(IMAGE),
    )?;
    step("skopeo and umoci");
    skopeo_and_umoci(&layout, &work)?;
    match peers() {
        Some(peers) => {
            step("Docker");
            docker_judges(&peers, &docker)?;
            step("Docker, loaded");
            load_judge::judge(&shell::target_dir().join("peers"), &binary)
        }
        None => {
            say("no Docker to ask here");
            Ok(())
        }
    }
}

fn skopeo_and_umoci(archive: &Path, work: &Path) -> Result<()> {
    let (copy, bundle) = (work.join("copy"), work.join("bundle"));
    let mut skopeo = Command::new(need_tool("skopeo"));
    skopeo.args(["--insecure-policy", "copy", "--quiet"]);
    skopeo.arg(format!("oci-archive:{}", archive.display()));
    skopeo.arg(format!("oci:{}:latest", copy.display()));
    show(&mut skopeo)?;
    let mut umoci = Command::new(need_tool("umoci"));
    umoci
        .args(["unpack", "--image"])
        .arg(format!("{}:latest", copy.display()));
    if !packages::is_root() {
        umoci.arg("--rootless");
    }
    show(umoci.arg(&bundle))?;
    for program in ["usr/bin/vim.basic", "usr/bin/htop"] {
        let path = bundle.join("rootfs").join(program);
        fs::symlink_metadata(&path).with_context(|| format!("look for {program}"))?;
    }
    say("both accept it; vim and htop are in the unpacked tree");
    Ok(())
}

/// Returns the script that unpacks a recent Docker beside the system's packages, where there is one.
fn peers() -> Option<PathBuf> {
    let script = repository_root().parent()?.join("shared/tools/peers");
    script.exists().then_some(script)
}

fn docker_judges(peers: &Path, archive: &Path) -> Result<()> {
    let dir = shell::target_dir().join("peers");
    if !dir.join("start-dockerd").exists() {
        show(command(peers).arg(&dir))?;
    }
    show(&mut command(dir.join("start-dockerd")))?;
    let _stop = StopDocker(&dir);
    let script = format!(
        ". '{}/env'; set -ex; docker load -i '{}'; \
         docker run --rm --network none {IMAGE} sh -c \
         'ls -d /tmp/logs; vim --version | head -n 1; htop --version | head -n 1'",
        dir.display(),
        archive.display()
    );
    let printed = shell::output(command("bash").arg("-c").arg(&script))?;
    print!("{printed}");
    for word in ["/tmp/logs", "VIM - Vi IMproved", "htop "] {
        if !printed.contains(word) {
            bail!("docker run did not print {word:?}");
        }
    }
    Ok(())
}

/// Stops the Docker of a folder.
pub struct StopDocker<'a>(pub &'a Path);

impl Drop for StopDocker<'_> {
    fn drop(&mut self) {
        let _ = show(&mut command(self.0.join("stop-dockerd")));
    }
}
