//! A real Docker takes images by `rbuild build --load`, with either of its stores, and moves no more than
//! it lacks.

use std::fs::File;
use std::io::{Read, copy};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rbuild_testkit::{TempDir, Tree, busybox_layout};

use crate::judges::StopDocker;
use crate::shell::{self, command, say, show};

/// The name under which the image is loaded.
const IMAGE: &str = "rbuild-load-judge:1";

const DOCKERFILE: &str =
    "FROM busybox\nCOPY big /big\nCOPY small /small\nCMD [\"cat\", \"/small\"]\n";

/// Bytes of the large layer.
const BIG: u64 = 5_000_000;

/// Has both image stores of the Docker in `peers` judge; none may run there.
pub fn judge(peers: &Path, binary: &Path) -> Result<()> {
    for (store, option) in [
        ("its own image store", "containerd-snapshotter=false"),
        ("containerd's image store", "containerd-snapshotter=true"),
    ] {
        say(store);
        show(command(peers.join("start-dockerd")).args(["--feature", option]))?;
        let _stop = StopDocker(peers);
        one_store(&Judge {
            peers,
            binary,
            work: TempDir::new(),
        })?;
    }
    Ok(())
}

struct Judge<'a> {
    peers: &'a Path,
    binary: &'a Path,
    work: TempDir,
}

fn one_store(judge: &Judge<'_>) -> Result<()> {
    busybox_layout(&judge.work.join("busybox"));
    let context = judge.work.join("context");
    Tree::new()
        .file("Dockerfile", DOCKERFILE)
        .file("small", "one\n")
        .write_to(&context);
    // Another one each time, or Docker would know its layer.
    let mut random = File::open("/dev/urandom")
        .context("open /dev/urandom")?
        .take(BIG);
    let mut big = File::create(context.join("big")).context("make a file")?;
    copy(&mut random, &mut big).context("fill a file")?;
    judge.load("(docker pulled ", "MB)")?;
    judge.load("(docker has it already)", "")?;
    Tree::new().file("small", "two\n").write_to(&context);
    // The layer of one file, and the config.
    judge.load("(docker pulled ", "kB)")?;
    let printed = judge.docker(&format!("run --rm --network none {IMAGE}"))?;
    if printed != "two\n" {
        bail!("docker run printed {printed:?}");
    }
    let names = judge.docker("images --format '{{.Repository}}:{{.Tag}}'")?;
    if names.contains("127.0.0.1") {
        bail!("the loopback's name stayed:\n{names}");
    }
    judge.docker(&format!("image rm {IMAGE}")).map(drop)
}

impl Judge<'_> {
    /// Builds and loads; what is said of it must hold both texts.
    fn load(&self, first: &str, second: &str) -> Result<()> {
        let mut build = command(self.binary);
        build.arg("--root").arg(self.work.join("store"));
        build.args(["build", "--load", "--progress", "plain", "-t", IMAGE]);
        build.arg("--build-context").arg(format!(
            "busybox=oci-layout://{}",
            self.work.join("busybox").display()
        ));
        build.arg(self.work.join("context"));
        let socket = self.peers.join("docker.sock");
        build.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        let finished = build.output().context("start rbuild")?;
        let said = String::from_utf8_lossy(&finished.stderr);
        let line = said.lines().find(|line| line.starts_with("Loaded image: "));
        match line {
            Some(line) if line.contains(first) && line.contains(second) => {
                say(line);
                Ok(())
            }
            _ => bail!("no {first:?} and {second:?} in what it said:\n{said}"),
        }
    }

    fn docker(&self, words: &str) -> Result<String> {
        let script = format!(". '{}/env'; docker {words}", self.peers.display());
        shell::output(command("bash").arg("-c").arg(script))
    }
}
