//! Runs the fuzz targets of `fuzz/` for a while.

mod seeds;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rbuild_testkit::repository_root;

use crate::packages;
use crate::shell::{self, command, say, show_status, step};
use crate::test::Tally;

/// All targets; each is a program of that name.
const TARGETS: &[&str] = &["dockerfile", "word", "ignore", "pattern", "json"];

/// How long each target runs in CI: a minute for all.
const SHORT: Duration = Duration::from_secs(12);

/// The libFuzzer that comes with the compiler knows this machine only.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What to run.
pub struct Options<'a> {
    time: Duration,
    targets: Vec<&'a str>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            time: SHORT,
            targets: TARGETS.to_vec(),
        }
    }
}

impl<'a> Options<'a> {
    /// Reads the words after `fuzz`: seconds for each target, then targets.
    pub fn parse(words: &[&'a str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words;
        if let Some((first, rest)) = words.split_first()
            && let Ok(seconds) = first.parse()
        {
            options.time = Duration::from_secs(seconds);
            words = rest;
        }
        if let Some(word) = words.iter().find(|word| !TARGETS.contains(word)) {
            bail!("no fuzz target `{word}`; there are: {}", TARGETS.join(", "));
        }
        if !words.is_empty() {
            options.targets = words.to_vec();
        }
        Ok(options)
    }
}

/// Runs the targets; a finding is an error.
pub fn fuzz(options: &Options) -> Result<()> {
    let tally = run(options)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} fuzz targets found something", tally.failed);
    }
    Ok(())
}

/// Runs the targets and returns how many ended without and with a finding.
pub fn run(options: &Options) -> Result<Tally> {
    // libFuzzer is compiled from C++.
    packages::ensure(&["c++"])?;
    let folder = build()?;
    let mut tally = Tally::default();
    for target in &options.targets {
        step(&format!("Fuzz target {target}"));
        match run_one(&folder, target, options.time)? {
            Found::Nothing => tally.passed += 1,
            Found::Something => tally.failed += 1,
        }
    }
    Ok(tally)
}

/// Compiles all targets at once and returns where they are.
fn build() -> Result<PathBuf> {
    let nightly = toolchain::nightly()?;
    toolchain::ensure_cargo_fuzz()?;
    let folder = folder();
    let mut build = command("rustup");
    build.args([
        "run", &nightly, "cargo", "fuzz", "build", "--target", TRIPLE,
    ]);
    build.arg("--target-dir").arg(&folder);
    // Cargo of the outer toolchain must not leak into the inner one.
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTDOC"] {
        build.env_remove(name);
    }
    shell::show(&mut build)?;
    Ok(folder.join(TRIPLE).join("release"))
}

fn folder() -> PathBuf {
    shell::target_dir().join("fuzz")
}

enum Found {
    Nothing,
    Something,
}

fn run_one(programs: &Path, target: &str, time: Duration) -> Result<Found> {
    let seeds = folder().join("seeds").join(target);
    let corpus = folder().join("corpus").join(target);
    let found = folder().join("found");
    seeds::write(&repository_root().join("testdata"), target, &seeds)?;
    for dir in [&corpus, &found] {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    let mut fuzz = command(programs.join(target));
    fuzz.arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-artifact_prefix={}/{target}-", found.display()))
        // One input may take a second under the sanitizer; ten are a finding.
        .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .args(["-verbosity=1", "-reload=0", "-max_len=8192"])
        .args([&corpus, &seeds])
        .stdin(Stdio::null());
    let log = found.join(format!("{target}.log"));
    let file = fs::File::create(&log).with_context(|| format!("write {}", log.display()))?;
    fuzz.stderr(file);
    let (status, _) = show_status(&mut fuzz)?;
    let printed = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if status.success() {
        report(&printed);
        return Ok(Found::Nothing);
    }
    let from = printed.find("panicked at").unwrap_or(0);
    println!("{}", &printed[printed[..from].rfind('\n').unwrap_or(0)..]);
    say(&format!("a finding in {target}; see fuzz/README.md"));
    Ok(Found::Something)
}

/// Prints the last line of progress and the figures.
fn report(printed: &str) {
    let progress = printed.lines().rfind(|line| line.contains(" cov: "));
    let figures = printed.lines().filter(|line| line.starts_with("stat::"));
    for line in progress.into_iter().chain(figures) {
        say(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_targets_are_read() {
        let options = Options::parse(&["600", "word", "json"]).unwrap();
        assert_eq!(options.time, Duration::from_secs(600));
        assert_eq!(options.targets, ["word", "json"]);
        assert_eq!(Options::parse(&[]).unwrap().targets, TARGETS);
        assert!(Options::parse(&["7", "wrod"]).is_err());
    }

    #[test]
    fn the_manifest_has_the_same_targets() {
        let manifest = shell::read(&repository_root().join("fuzz/Cargo.toml")).unwrap();
        let (_, bins) = manifest.split_once("[[bin]]").unwrap();
        let names: Vec<&str> = bins
            .lines()
            .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
            .collect();
        assert_eq!(names, TARGETS);
    }
}
