//! Builds and runs the larger Dockerfiles of `testdata/builds`: several stages, package installs, real tools.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use rbuild_testkit::repository_root;

use crate::bootstrap::{self, Extent};
use crate::host;
use crate::shell::{self, command, say, seconds, show, step};

/// A folder of `testdata/builds`, a command for its image and a fragment of what that must print.
struct Service {
    name: &'static str,
    command: &'static [&'static str],
    prints: &'static str,
}

const SERVICES: &[Service] = &[
    Service {
        name: "c-hello",
        command: &[],
        prints: "hello from an image of one file",
    },
    Service {
        name: "python-service",
        command: &["/srv/venv/bin/python", "/srv/service.py", "--check"],
        prints: "service ready",
    },
    Service {
        name: "node-service",
        command: &["node", "/srv/service.js", "--check"],
        prints: "service ready",
    },
];

/// Builds each with a Debian base from this machine's mirror, then runs it.
pub fn services() -> Result<()> {
    let base = shell::target_dir().join("demo/ubuntu");
    let config = shell::target_dir().join("demo/host-config");
    step("A base image and this machine's package settings");
    bootstrap::debian(&base, Extent::Apt)?;
    host::write_config(&config)?;
    let binary = shell::release_binary()?;
    for service in SERVICES {
        step(service.name);
        let elapsed = show(&mut build(&binary, service.name, &base, &config))?;
        say(&format!("built in {}", seconds(elapsed)));
        let mut run = command(&binary);
        run.args(["run", service.name]).args(service.command);
        println!("$ {}", shell::line(&run));
        let printed = shell::output(&mut run)?;
        print!("{printed}");
        if !printed.contains(service.prints) {
            bail!("{} did not print {:?}", service.name, service.prints);
        }
    }
    Ok(())
}

fn build(binary: &Path, name: &str, base: &Path, config: &Path) -> Command {
    let mut build = command(binary);
    build.args(["build", "-t", name, "--build-context"]);
    build.arg(format!("debian=oci-layout://{}:latest", base.display()));
    build.arg("--build-context");
    build.arg(format!("host-config={}", config.display()));
    build.arg(repository_root().join("testdata/builds").join(name));
    build
}
