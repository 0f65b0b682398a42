//! All checks and tests, in the order in which a mistake shows soonest.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::conformance;
use crate::foreign;
use crate::fuzz;
use crate::moto;
use crate::packages;
use crate::shell::{self, cargo, say, seconds, show, step};

/// Programs that tests call; the packages that bring them are installed.
const TOOLS: &[&str] = &[
    "busybox",
    "docker-registry",
    "git",
    "htpasswd",
    "newuidmap",
    "podman",
    "openssl",
    "python3",
    "setpriv",
    "skopeo",
    "ssh-keygen",
    "sshd",
    "umoci",
    "zstd",
];

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Format, lints and the tests beside the code.
    Quick,
    /// Also documentation, the tests with the real binary, conformance, and a minute of fuzzing.
    Full,
}

impl Extent {
    /// Reads the word on the command line.
    pub fn parse(word: &str) -> Result<Self> {
        match word {
            "quick" => Ok(Self::Quick),
            "full" => Ok(Self::Full),
            _ => bail!("`cargo xtask test` takes `quick` or `full`, not `{word}`"),
        }
    }
}

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that ran and held.
    pub passed: usize,
    /// Tests that ran and did not hold.
    pub failed: usize,
}

impl Tally {
    /// Adds another run's figures.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Sets the machine up and runs everything of `extent`.
pub fn test(extent: Extent) -> Result<()> {
    let started = Instant::now();
    step("Packages the tests need");
    packages::ensure(TOOLS)?;
    say("all there");
    step("Format");
    show(&mut cargo(["fmt", "--all", "--check"]))?;
    show(&mut cargo([
        "fmt",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--check",
    ]))?;
    step("Lints");
    show(&mut cargo([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    if extent == Extent::Full {
        step("Documentation");
        let mut doc = cargo(["doc", "--quiet", "--workspace", "--no-deps"]);
        show(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    step("Tests");
    let mut tally = tests(extent)?;
    if extent == Extent::Full && conformance::corpus().is_some() {
        step("Conformance");
        // Hundreds of builds: compiling the optimised program for them is the shorter way.
        let release = shell::release_binary()?;
        tally.add(conformance::run(
            &release,
            &conformance::Options::default(),
        )?);
    }
    if extent == Extent::Full {
        step("Fuzzing");
        tally.add(fuzz::run(&fuzz::Options::default())?);
    }
    println!("\nfinished in {}", seconds(started.elapsed()));
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} tests failed", tally.failed);
    }
    Ok(())
}

/// Runs the tests of several platforms alone, with the real emulator.
pub fn emulation() -> Result<()> {
    let Some(folder) = foreign::ensure()? else {
        bail!("this machine's own processor is the one that would be emulated");
    };
    packages::ensure(&["busybox", "newuidmap"])?;
    show(&mut cargo(["build", "--quiet", "--package", "rbuild-cli"]))?;
    let mut run = cargo(["test", "--package", "rbuild-testkit", "--test", "system"]);
    run.args(["--", "platforms::"])
        .env("RBUILD_BIN", binary())
        .env("RBUILD_REQUIRE_PRIVILEGED", "1")
        .env(foreign::VARIABLE, folder);
    show(&mut run).map(drop)
}

/// The program that `cargo build` makes; tests do not wait for an optimised one.
fn binary() -> PathBuf {
    shell::target_dir().join("debug/rbuild")
}

/// Runs cargo's tests; the figures are read from the closing line of each test program.
fn tests(extent: Extent) -> Result<Tally> {
    show(&mut cargo(["build", "--quiet", "--package", "rbuild-cli"]))?;
    let mut run = cargo(["test", "--workspace", "--no-fail-fast"]);
    if extent == Extent::Quick {
        run.args(["--lib", "--bins", "--test", "it", "--test", "tidy"]);
    }
    run.env("RBUILD_BIN", binary());
    if extent == Extent::Full
        && let Some(folder) = foreign::ensure()?
    {
        run.env(foreign::VARIABLE, folder);
    }
    if extent == Extent::Full {
        run.env(moto::VARIABLE, moto::ensure()?);
    }
    if packages::is_root() {
        run.env("RBUILD_REQUIRE_PRIVILEGED", "1");
    }
    count_as_it_runs(&mut run)
}

fn count_as_it_runs(run: &mut Command) -> Result<Tally> {
    println!("$ {}", shell::line(run));
    let mut child = run
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo test")?;
    let stdout = child.stdout.take().context("its output is piped")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read what cargo test prints")?;
        if let Some(result) = closing_line(&line) {
            tally.add(result);
        }
        println!("{line}");
    }
    let status = child.wait().context("wait for cargo test")?;
    if !status.success() && tally.failed == 0 {
        // It did not compile, or a test program died: no closing line counts that.
        bail!("cargo test ended with {status}");
    }
    Ok(tally)
}

/// Reads `test result: ok. 12 passed; 0 failed; …`.
fn closing_line(line: &str) -> Option<Tally> {
    let (_, figures) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut parts = figures.split("; ").map(|part| part.split_once(' '));
    let mut figure = |word: &str| {
        let (number, what) = parts.next()??;
        (what == word).then_some(number)?.parse().ok()
    };
    Some(Tally {
        passed: figure("passed")?,
        failed: figure("failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted_and_others_are_not() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out";
        let tally = Tally {
            passed: 12,
            failed: 3,
        };
        assert_eq!(closing_line(line), Some(tally));
        assert_eq!(closing_line("test a::b ... ok"), None);
    }
}
