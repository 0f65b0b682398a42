//! The cache in buckets against S3 servers that other people wrote.
//!
//! `moto_server` is quick to get and part of all tests; `s3s-fs`, which checks signatures, is compiled for this.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Result;

use crate::moto;
use crate::shell::{self, cargo, say, show, step};

/// Names the second server for the tests.
const VARIABLE: &str = "RBUILD_S3S_FS";
const VERSION: &str = "0.14.1";

/// Gets both servers and runs the tests that need them.
pub fn s3() -> Result<()> {
    step("Servers");
    let (moto, s3s) = (moto::ensure()?, s3s_fs()?);
    say("all there");
    step("Caches in buckets");
    let mut run = cargo(["test", "--package", "rbuild-cache", "--test", "it"]);
    run.args(["--", "s3"]);
    run.env(moto::VARIABLE, moto).env(VARIABLE, s3s);
    show(&mut run).map(drop)
}

/// Returns the program; compiles it if it is not there yet.
fn s3s_fs() -> Result<PathBuf> {
    let folder = shell::target_dir().join("s3s");
    let program = folder.join("bin/s3s-fs");
    if program.exists() {
        return Ok(program);
    }
    say(&format!("compiling s3s-fs {VERSION}"));
    let mut install = cargo(["install", "s3s-fs", "--version", VERSION, "--locked"]);
    install
        .args(["--features", "binary", "--root"])
        .arg(&folder);
    install.arg("--target-dir").arg(folder.join("target"));
    show(install.stdin(Stdio::null()))?;
    // Half a gigabyte that nobody needs any more.
    std::fs::remove_dir_all(folder.join("target")).ok();
    Ok(program)
}
