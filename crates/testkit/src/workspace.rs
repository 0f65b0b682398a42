//! Where the repository and the program under test are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the top folder of the repository.
pub fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two folders below the top")
}

/// Returns the `rbuild` program to test, building it once when nobody did.
///
/// `RBUILD_BIN` names one; otherwise cargo builds the one of the same target folder and profile as the
/// running test, so that a plain `cargo test` never tests a stale program.
pub fn rbuild_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("RBUILD_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let test = env::current_exe().unwrap_or_else(|error| panic!("find the test program: {error}"));
    let profile_dir = test
        .ancestors()
        .nth(2)
        .expect("test programs lie in <target>/<profile>/deps");
    let target_dir = profile_dir.parent().expect("a profile has a target folder");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(repository_root())
        .args([
            "build",
            "--quiet",
            "--package",
            "rbuild-cli",
            "--target-dir",
        ])
        .arg(target_dir);
    if profile_dir.ends_with("release") {
        command.arg("--release");
    }
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("start cargo: {error}"));
    assert!(status.success(), "cargo could not build rbuild: {status}");
    profile_dir.join("rbuild")
}
