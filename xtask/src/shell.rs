//! Running commands the way a person would see them: the line first, then what it prints.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rbuild_testkit::repository_root;

/// Prints a heading for the next step of a chore.
pub fn step(text: &str) {
    println!("\n==> {text}");
}

/// Prints one line of explanation.
pub fn say(text: &str) {
    println!("    {text}");
}

/// Returns the folder for what chores make: `target/` of the repository, or cargo's other choice.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository_root().join("target"), PathBuf::from)
}

/// Returns a command that runs in the top folder of the repository.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(repository_root());
    command
}

/// Returns a command for cargo itself.
pub fn cargo<const N: usize>(args: [&str; N]) -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args);
    cargo
}

/// Compiles the optimised `rbuild` and returns its path; `RBUILD_BIN` names another program to use.
pub fn release_binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("RBUILD_BIN") {
        return Ok(PathBuf::from(given));
    }
    let mut build = cargo(["build", "--release", "--quiet", "--package", "rbuild-cli"]);
    show(&mut build)?;
    Ok(target_dir().join("release/rbuild"))
}

/// Runs `command`, showing the line and its output; an exit code other than 0 is an error.
pub fn show(command: &mut Command) -> Result<Duration> {
    let (status, elapsed) = show_status(command)?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(elapsed)
}

/// Runs `command`, showing the line and its output.
pub fn show_status(command: &mut Command) -> Result<(ExitStatus, Duration)> {
    println!("$ {}", line(command));
    let started = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("start `{}`", line(command)))?;
    Ok((status, started.elapsed()))
}

/// Runs `command` and returns what it printed on standard output; other exit codes than 0 are errors.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start `{}`", line(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}\n{errors}", line(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the command as one would type it in the top folder.
pub fn line(command: &Command) -> String {
    let mut text = short(Path::new(command.get_program()));
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        let arg = arg.replace(&format!("{}/", repository_root().display()), "");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
        if !arg.is_empty() && arg.chars().all(plain) {
            let _ = write!(text, " {arg}");
        } else {
            let _ = write!(text, " '{arg}'");
        }
    }
    text
}

/// Programs of ours by their path below the top folder, others by their name.
fn short(program: &Path) -> String {
    let name = || program.file_name().map(Path::new).unwrap_or(program);
    let path = program
        .strip_prefix(repository_root())
        .unwrap_or_else(|_| name());
    path.display().to_string()
}

/// Returns `1.23 s` or `45 ms`.
pub fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// Returns the contents of `path` as text, with the path in the error.
pub fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Writes `text` to `path`, making its folder, with the path in the error.
pub fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
