//! What fuzzing needs beyond a stable toolchain: a nightly one, and `cargo-fuzz`.

use std::process::Command;

use anyhow::{Result, bail};
use rbuild_testkit::find_tool;

use crate::shell::{self, cargo, command, say, show};

/// The version that is installed where there is none.
const CARGO_FUZZ: &str = "0.13.2";

const WHY: &str = "fuzzing needs a nightly toolchain (the sanitizer and coverage are switched on by unstable flags)";

/// Returns the name of a nightly toolchain, installing one where there is none.
pub fn nightly() -> Result<String> {
    if find_tool("rustup").is_none() {
        bail!("{WHY}, and there is no rustup to ask for one; install rustup, then run this again");
    }
    if let Some(name) = first_nightly(&installed()?) {
        return Ok(name);
    }
    say("no nightly toolchain here: asking rustup for one");
    let mut install = command("rustup");
    install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
    if let Err(error) = show(&mut install) {
        bail!(
            "{WHY}, and rustup could not fetch one ({error}); make one available \
             (`rustup toolchain install nightly`, or `rustup toolchain link nightly DIR`), or run \
             `cargo xtask test quick`, which does not fuzz"
        );
    }
    first_nightly(&installed()?).ok_or_else(|| anyhow::anyhow!("{WHY}; rustup lists none"))
}

fn installed() -> Result<String> {
    shell::output(command("rustup").args(["toolchain", "list"]))
}

fn first_nightly(list: &str) -> Option<String> {
    let names = list.lines().filter_map(|line| line.split(' ').next());
    let mut nightlies = names.filter(|name| name.starts_with("nightly"));
    nightlies.next().map(str::to_owned)
}

/// Installs `cargo-fuzz` where it is missing.
pub fn ensure_cargo_fuzz() -> Result<()> {
    let there = Command::new("cargo").args(["fuzz", "--version"]).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    say("installing cargo-fuzz");
    let mut install = cargo(["install", "--quiet", "--locked", "cargo-fuzz"]);
    show(install.args(["--version", CARGO_FUZZ]))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_nightly_will_do() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\nnightly-2026-05-15-x86_64-unknown-linux-gnu\n";
        let name = first_nightly(list);
        assert_eq!(
            name.as_deref(),
            Some("nightly-2026-05-15-x86_64-unknown-linux-gnu")
        );
        assert_eq!(first_nightly("1.95.0-x86_64-unknown-linux-gnu\n"), None);
    }
}
