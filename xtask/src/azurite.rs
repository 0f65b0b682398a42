//! The cache in Azure Blob Storage against Microsoft's own stand-in of it, which checks every signature.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::shell::{self, cargo, say, show, step};

/// Names the server for the tests.
const VARIABLE: &str = "RBUILD_AZURITE";
/// What is installed; a fixed version, so that all machines test against the same.
const WANTED: &str = "azurite@3.35.0";

/// Gets the server and runs the tests that need it.
pub fn azurite() -> Result<()> {
    step("Azurite");
    let program = ensure()?;
    say("it is there");
    step("Caches in containers");
    let mut run = cargo(["test", "--package", "rbuild-cache", "--test", "it"]);
    run.args(["--", "azblob"]);
    run.env(VARIABLE, program);
    show(&mut run).map(drop)
}

/// Returns the program; npm puts it into the target folder if it is not there yet, with the machine's own settings.
fn ensure() -> Result<PathBuf> {
    let folder = shell::target_dir().join("azurite");
    let program = folder.join("node_modules/.bin/azurite-blob");
    if program.exists() {
        return Ok(program);
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--prefix"]);
    install.arg(&folder).arg(WANTED);
    shell::output(install.stdin(Stdio::null())).context("install azurite (npm of Node.js)")?;
    Ok(program)
}
