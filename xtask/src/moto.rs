//! `moto_server`, an S3 that somebody else wrote, in a Python environment of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::shell;

/// Names the program for the tests.
pub const VARIABLE: &str = "RBUILD_MOTO";
/// What is installed; a fixed version, so that all machines test against the same.
const WANTED: &str = "moto[server]==5.2.5";

/// Returns the program; makes the environment in the target folder if it is not there yet.
///
/// pip works with the machine's own settings. Nothing else on the machine changes.
pub fn ensure() -> Result<PathBuf> {
    let folder = shell::target_dir().join("moto");
    let program = folder.join("bin/moto_server");
    let finished = folder.join("finished");
    if finished.exists() && program.exists() {
        return Ok(program);
    }
    shell::say(&format!("fetching {WANTED} into {}", folder.display()));
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&folder);
    shell::output(venv.stdin(Stdio::null()))
        .context("make a Python environment (Debian's package python3-venv)")?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", WANTED]);
    shell::output(pip.stdin(Stdio::null()))?;
    std::fs::write(&finished, WANTED).with_context(|| format!("write {}", finished.display()))?;
    Ok(program)
}
