//! Many processes on one store, killed at random: it stays whole, each step runs once, mounts keep their
//! sharing, the limit holds.
//!
//! *Calm* rounds have builds and kills only: there a step that was made is never made again. In *stormy*
//! rounds a limit, prunes and other commands come on top: what they remove is made again, but never by two
//! at once. Steps tell a witness outside the store what they do.

mod crew;
mod recipes;
mod witness;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{TempDir, busybox_layout, run};

use crew::{Crew, Round, Weather};
use witness::Witness;

/// Longest that one process may take, on a machine that has many of them at once.
const LIMIT: Duration = Duration::from_secs(180);

/// How long a round takes at most.
const ROUND: Duration = Duration::from_secs(12);

/// What the store may take in stormy rounds, in bytes.
const CAP: u64 = 160 << 20;

/// What to do, for how long.
#[derive(Clone, Debug)]
pub struct StressOptions {
    /// The program.
    pub binary: PathBuf,
    /// How many processes at a time.
    pub processes: usize,
    /// How long, in all.
    pub length: Duration,
    /// Where the randomness begins; which process comes first is the machine's choice all the same.
    pub seed: u64,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct StressReport {
    /// Builds that ran to their end.
    pub built: u64,
    /// Other commands that did.
    pub commands: u64,
    /// Processes that were killed.
    pub killed: u64,
    /// Steps that ran to their end.
    pub steps_done: u64,
    /// Steps that were cut off.
    pub steps_cut: u64,
    /// Different steps among them.
    pub steps_distinct: u64,
    /// Rounds.
    pub rounds: u32,
    /// The most that the store was seen to take in a stormy round, in bytes of allocated blocks.
    pub largest_bytes: u64,
    /// The most that it took after such a round and one more build, likewise; and the limit.
    pub settled_bytes: (u64, u64),
    /// What must not be, in words; empty when all is well.
    pub faults: Vec<String>,
}

/// Puts a store under stress; `tell` hears a line after every round.
///
/// Needs root, busybox and a loopback network. With faults the store is kept, and its place is named.
pub fn stress(options: &StressOptions, tell: &dyn Fn(&str)) -> StressReport {
    let place = TempDir::new();
    busybox_layout(&place.join("busybox"));
    recipes::write(&place);
    let witness = Witness::start();
    let crew = Crew::new(options, &place, &witness);
    let mut report = StressReport::default();
    let begun = Instant::now();
    let rounds = (options.length.as_secs_f64() / ROUND.as_secs_f64())
        .ceil()
        .max(2.0);
    let length = options.length.div_f64(rounds);
    while begun.elapsed() + length / 2 < options.length && report.faults.len() < 10 {
        let weather = match report.rounds % 2 {
            0 => Weather::Calm,
            _ => Weather::Storm,
        };
        let round = Round {
            number: report.rounds,
            weather,
            length,
        };
        crew.work(round, &mut report);
        report.rounds += 1;
        report.faults.extend(witness.judge(weather));
        report
            .faults
            .extend(settled(&crew, weather, &mut report.settled_bytes));
        tell(&format!("{round}: {}", summary(&report)));
    }
    let seen = witness.seen();
    (report.steps_done, report.steps_cut, report.steps_distinct) = seen;
    if !report.faults.is_empty() {
        let kept = place.keep();
        report.faults.push(format!("all of it is kept in {kept:?}"));
    }
    report
}

fn summary(report: &StressReport) -> String {
    format!(
        "{} built, {} other commands, {} killed, {} faults",
        report.built,
        report.commands,
        report.killed,
        report.faults.len()
    )
}

/// What is wrong with the store when nobody is at work in it.
fn settled(crew: &Crew<'_>, weather: Weather, sizes: &mut (u64, u64)) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |what: &str, mut command: Command| {
        let done = run(&mut command, LIMIT);
        if !done.status.success() {
            faults.push(format!("{what}: {done}"));
        }
    };
    check("store verify", crew.rbuild(&["store", "verify"]));
    if weather == Weather::Storm {
        // A last build in peace: what it leaves is within the limit.
        check("a build after the storm", crew.build_in_peace());
        let taken = allocated(&crew.store());
        *sizes = (sizes.0.max(taken), CAP);
        if taken > CAP {
            faults.push(format!(
                "the store settled at {taken} bytes, the limit is {CAP}"
            ));
        }
    }
    let staged = fs::read_dir(crew.store().join("stage")).map(|entries| entries.count());
    if staged.as_ref().ok() != Some(&0) {
        faults.push(format!("left in the stage: {staged:?}"));
    }
    faults
}

/// Allocated bytes of a directory with all below, as far as it is there while it is looked at.
fn allocated(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return 0;
    };
    let below = match fs::read_dir(path) {
        Ok(entries) if meta.is_dir() => entries
            .flatten()
            .map(|entry| allocated(&entry.path()))
            .sum(),
        _ => 0,
    };
    meta.blocks() * 512 + below
}
