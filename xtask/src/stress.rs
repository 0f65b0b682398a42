//! Many processes on one store, for as long as one likes; the test of the same takes seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rbuild_testkit::{StressOptions, StressReport};

use crate::packages;
use crate::shell::{self, say, step};

/// Runs it and prints what happened; a fault is an error.
pub fn stress(words: &[&str]) -> Result<()> {
    let (mut minutes, mut processes, mut seed) = (1.0, 32, now());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words
            .next()
            .with_context(|| format!("`{word}` needs a value"))?;
        let wrong = || format!("`{value}` is no number for {word}");
        match *word {
            "--minutes" => minutes = value.parse::<f64>().with_context(wrong)?,
            "--processes" => processes = value.parse().with_context(wrong)?,
            "--seed" => seed = value.parse().with_context(wrong)?,
            _ => {
                bail!("`cargo xtask stress` takes --minutes, --processes and --seed, not `{word}`")
            }
        }
    }
    let length = Duration::try_from_secs_f64(minutes * 60.0)
        .with_context(|| format!("{minutes} minutes are no length"))?;
    packages::ensure(&["busybox"])?;
    let options = StressOptions {
        binary: shell::release_binary()?,
        processes,
        length,
        seed,
    };
    step(&format!(
        "{processes} processes on one store for {minutes} minutes, --seed {seed}"
    ));
    conclude(&rbuild_testkit::stress(&options, &|line| say(line)))
}

fn conclude(report: &StressReport) -> Result<()> {
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "\n{} builds and {} other commands ended well, {} processes were killed, in {} rounds",
        report.built, report.commands, report.killed, report.rounds
    );
    println!(
        "{} different steps ran to their end {} times; {} runs were cut off",
        report.steps_distinct, report.steps_done, report.steps_cut
    );
    println!(
        "the store took {} MiB at most, and {} MiB when the storms were over, of {} MiB",
        mib(report.largest_bytes),
        mib(report.settled_bytes.0),
        mib(report.settled_bytes.1)
    );
    for fault in &report.faults {
        println!("FAULT: {fault}");
    }
    match report.faults.len() {
        0 => Ok(()),
        count => bail!("{count} faults"),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}
