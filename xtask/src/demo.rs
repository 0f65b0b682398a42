//! From a clone to an image that runs, with all that a fresh Debian machine lacks set up on the way.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rbuild_testkit::repository_root;

use crate::bootstrap::{self, Extent};
use crate::packages;
use crate::shell::{self, command, say, seconds, show, step};

/// Where the reference `ubuntu` leads when nothing maps it.
const REGISTRY: &str = "registry-1.docker.io:443";
const IMAGE: &str = "my_first_image";

/// Builds and runs `testdata/my_first_image`.
pub fn demo() -> Result<()> {
    let started = Instant::now();
    step("What this machine needs");
    prepare_machine()?;
    step("A base image for `FROM ubuntu`");
    let base = if registry_answers() {
        say("The registry answers: the base comes from there.");
        None
    } else {
        say(
            "The registry is not in reach from here: Debian is bootstrapped from this machine's own",
        );
        say("package mirror instead, while rbuild compiles, and mapped in as `ubuntu`.");
        Some(shell::target_dir().join("demo/ubuntu"))
    };
    let binary = compile_beside_bootstrap(base.as_deref())?;

    step("The first build");
    let first = first_build(&binary, base)?;
    step("What it made");
    show(
        command(&binary)
            .args(["run", IMAGE, "sh", "-c"])
            .arg("ls -d /tmp/logs && vim --version | head -n 1 && htop --version | head -n 1"),
    )?;
    show(command(&binary).args(["images", "--filter", &format!("reference={IMAGE}")]))?;
    step("The same build again, from the cache");
    let mut again = first.command(&binary);
    let cached = show(&mut again)?;
    say(&format!("answered in {}", seconds(cached)));
    step(&format!("Done in {}. Next:", seconds(started.elapsed())));
    say(&format!(
        "{} run -it {IMAGE}",
        shell::line(&Command::new(&binary))
    ));
    say(&format!("{} --help", shell::line(&Command::new(&binary))));
    Ok(())
}

fn prepare_machine() -> Result<()> {
    let mut tools = vec!["cc"];
    if !packages::is_root() {
        tools.push("newuidmap");
    }
    packages::ensure(&tools)?;
    say("all there");
    Ok(())
}

/// Asks for a connection only, for at most four seconds, name look-up included.
fn registry_answers() -> bool {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let limit = Duration::from_secs(3);
        let reached = REGISTRY
            .to_socket_addrs()
            .map(|mut found| found.any(|at| TcpStream::connect_timeout(&at, limit).is_ok()));
        // Nobody listens any more when the limit has run out.
        let _ = send.send(reached.unwrap_or(false));
    });
    receive
        .recv_timeout(Duration::from_secs(4))
        .unwrap_or(false)
}

/// Compiles rbuild and, beside it, makes the base image: one waits for processors, the other for a mirror.
fn compile_beside_bootstrap(base: Option<&Path>) -> Result<PathBuf> {
    thread::scope(|scope| {
        let bootstrap = base.map(|layout| {
            scope.spawn(move || {
                let begun = Instant::now();
                bootstrap::debian(layout, Extent::Apt).map(|()| begun.elapsed())
            })
        });
        let begun = Instant::now();
        let binary = shell::release_binary()?;
        say(&format!("rbuild compiled in {}", seconds(begun.elapsed())));
        if let Some(bootstrap) = bootstrap {
            let elapsed = bootstrap
                .join()
                .map_err(|_| anyhow!("the bootstrap panicked"))??;
            say(&format!("Debian bootstrapped in {}", seconds(elapsed)));
        }
        Ok(binary)
    })
}

/// A build command line that worked.
struct FirstBuild {
    base: Option<PathBuf>,
}

impl FirstBuild {
    fn command(&self, binary: &Path) -> Command {
        let mut build = command(binary);
        build.args(["build", "-t", IMAGE]);
        if let Some(layout) = &self.base {
            build.arg("--build-context");
            build.arg(format!("ubuntu=oci-layout://{}:latest", layout.display()));
        }
        build.arg(repository_root().join("testdata/my_first_image"));
        build
    }
}

/// Builds; where the registry answered but did not give the image, bootstraps after all.
fn first_build(binary: &Path, base: Option<PathBuf>) -> Result<FirstBuild> {
    let build = FirstBuild { base };
    match show(&mut build.command(binary)) {
        Ok(elapsed) => {
            say(&format!("built in {}", seconds(elapsed)));
            Ok(build)
        }
        Err(error) if build.base.is_none() => {
            say(&format!("{error:#}"));
            say("Trying once more with a Debian bootstrapped from this machine's package mirror.");
            let layout = shell::target_dir().join("demo/ubuntu");
            bootstrap::debian(&layout, Extent::Apt)?;
            let build = FirstBuild { base: Some(layout) };
            show(&mut build.command(binary))?;
            Ok(build)
        }
        Err(error) => Err(error),
    }
}
