//! Debian packages: what is missing is installed, with a word about it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rbuild_testkit::{find_tool, package_of};

use crate::shell;

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs the packages that bring `tools`, where one of these programs is missing.
///
/// Needs root, or `sudo` without a question; else the error names the command to run.
pub fn ensure(tools: &[&str]) -> Result<()> {
    let mut missing: Vec<&str> = tools
        .iter()
        .filter(|tool| find_tool(tool).is_none())
        .map(|tool| package_of(tool))
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    shell::say(&format!(
        "installing what is missing: {}",
        missing.join(" ")
    ));
    // The registry is started by the tests that need it, never as a service of the machine.
    let quiet = NoServices::new()?;
    if apt_get(
        &["install", "-y", "-q", "--no-install-recommends"],
        &missing,
    )
    .is_err()
    {
        apt_get(&["update", "-q"], &[])?;
        apt_get(
            &["install", "-y", "-q", "--no-install-recommends"],
            &missing,
        )?;
    }
    drop(quiet);
    if missing.contains(&"docker-registry") && find_tool("systemctl").is_some() {
        let mut disable = as_root("systemctl")?;
        disable.args(["disable", "--quiet", "docker-registry"]);
        // On a machine whose init is not systemd there is no service to disable.
        let _ = disable.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    Ok(())
}

/// Runs apt-get and shows its output only when it fails.
fn apt_get(args: &[&str], packages: &[&str]) -> Result<()> {
    let mut apt = as_root("apt-get")?;
    apt.args(args)
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    println!("$ {}", shell::line(&apt));
    shell::output(apt.stdin(Stdio::null())).map(drop)
}

/// Returns a command that runs as root.
pub fn as_root(program: &str) -> Result<Command> {
    let path = find_tool(program).with_context(|| format!("`{program}` is not installed"))?;
    if is_root() {
        return Ok(Command::new(path));
    }
    let Some(sudo) = find_tool("sudo") else {
        bail!("`{program}` must run as root, and there is no sudo");
    };
    let mut command = Command::new(sudo);
    command.arg("-n").arg(path);
    Ok(command)
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// While it lives, packages that are installed start no service.
struct NoServices {
    made: bool,
}

impl NoServices {
    fn new() -> Result<Self> {
        // Somebody else's policy is respected; without root there is no way to set one.
        if Path::new(POLICY).exists() || !is_root() {
            return Ok(Self { made: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
        let guard = Self { made: true };
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("make {POLICY} executable"))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.made {
            let _ = fs::remove_file(POLICY);
        }
    }
}
