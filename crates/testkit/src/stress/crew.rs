//! The processes: what each does, and which are killed.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::recipes::RECIPES;
use super::witness::Witness;
use super::{CAP, LIMIT, StressOptions, StressReport, allocated};
use crate::Dice;
use crate::command::ends_within;

/// How long all processes build the same steps, in milliseconds.
const WAVE_MS: u128 = 700;

/// When a process is to be killed.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Never.
    Lives,
    /// So long after its start.
    After(Duration),
    /// So long after the begin of a step of it.
    InStep(Duration),
}

impl Fate {
    fn draw(dice: &mut Dice) -> Self {
        let mut pause = |longest| Duration::from_millis(dice.below(longest) as u64);
        let (early, late) = (pause(250), pause(1000));
        match dice.below(8) {
            0 => Self::After(late),
            1 | 2 => Self::InStep(early),
            _ => Self::Lives,
        }
    }
}

/// What goes on besides builds and kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Nothing: what was made stays.
    Calm,
    /// A limit, prunes and other commands.
    Storm,
}

/// A stretch of work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub(super) number: u32,
    pub(super) weather: Weather,
    pub(super) length: Duration,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weather = match self.weather {
            Weather::Calm => "calm",
            Weather::Storm => "stormy",
        };
        write!(f, "round {} ({weather})", self.number + 1)
    }
}

/// All processes, and what became of them.
pub(super) struct Crew<'a> {
    options: &'a StressOptions,
    place: &'a Path,
    witness: &'a Witness,
    next: AtomicU64,
}

/// What one process is to do.
struct Job {
    who: u64,
    command: Command,
    is_build: bool,
}

/// What a round adds to the report.
#[derive(Default)]
struct Tally {
    built: AtomicU64,
    commands: AtomicU64,
    killed: AtomicU64,
    faults: Mutex<Vec<String>>,
}

impl<'a> Crew<'a> {
    pub(super) fn new(options: &'a StressOptions, place: &'a Path, witness: &'a Witness) -> Self {
        fs::create_dir(place.join("logs")).expect("make a folder for logs");
        Self {
            options,
            place,
            witness,
            next: AtomicU64::new(1),
        }
    }

    /// The store's directory.
    pub(super) fn store(&self) -> PathBuf {
        self.place.join("store")
    }

    /// Lets all work for the length of a round, and waits for the last of them.
    pub(super) fn work(&self, round: Round, report: &mut StressReport) {
        let begun = Instant::now();
        let tally = Tally::default();
        let over = AtomicBool::new(false);
        let largest = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut largest = 0;
                while !over.load(Ordering::SeqCst) {
                    largest = largest.max(allocated(&self.store()));
                    thread::park_timeout(Duration::from_millis(250));
                }
                largest
            });
            let members: Vec<_> = (0..self.options.processes)
                .map(|member| {
                    let seed = self.options.seed ^ (u64::from(round.number) << 32) ^ member as u64;
                    let tally = &tally;
                    scope.spawn(move || self.member((round, begun), Dice::new(seed), tally))
                })
                .collect();
            for member in members {
                member.join().expect("a member does not panic");
            }
            over.store(true, Ordering::SeqCst);
            watch.thread().unpark();
            watch.join().expect("the watch does not panic")
        });
        if round.weather == Weather::Storm {
            report.largest_bytes = report.largest_bytes.max(largest);
        }
        report.built += tally.built.into_inner();
        report.commands += tally.commands.into_inner();
        report.killed += tally.killed.into_inner();
        let faults = tally.faults.into_inner();
        report
            .faults
            .extend(faults.unwrap_or_else(PoisonError::into_inner));
    }

    fn member(&self, (round, begun): (Round, Instant), mut dice: Dice, tally: &Tally) {
        while begun.elapsed() < round.length {
            let wave = begun.elapsed().as_millis() / WAVE_MS;
            let job = self.job(round, wave, &mut dice);
            self.carry_out(job, Fate::draw(&mut dice), tally);
        }
    }

    fn job(&self, round: Round, wave: u128, dice: &mut Dice) -> Job {
        let who = self.next.fetch_add(1, Ordering::Relaxed);
        let other: &[&[&str]] = &[
            &["prune", "-f"],
            &["prune", "-af"],
            &["prune", "-f", "--max-used-space", "60m"],
            &["prune", "-f", "--filter", "type=exec.cachemount"],
            &["du"],
            &["images"],
            &["store", "verify"],
        ];
        let which = dice.below(4 * other.len());
        if let (Weather::Storm, Some(words)) = (round.weather, other.get(which)) {
            return Job {
                who,
                command: self.rbuild(words),
                is_build: false,
            };
        }
        let recipe = RECIPES
            .get(dice.below(RECIPES.len()))
            .expect("there are some");
        let mut command = self.build(recipe, &format!("{}.{wave}", round.number), who);
        match dice.below(4) {
            0 => drop(command.arg("-t").arg(format!("stress-{recipe}"))),
            1 => {
                let archive = self.place.join("logs").join(format!("{who}.tar"));
                command.arg("-o");
                command.arg(format!("type=oci,dest={}", archive.display()));
            }
            _ => {}
        }
        if round.weather == Weather::Storm {
            command.arg("--cache-max").arg(CAP.to_string());
        }
        Job {
            who,
            command,
            is_build: true,
        }
    }

    /// The program, with words.
    pub(super) fn rbuild(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.options.binary);
        command.arg("--root").arg(self.store()).args(words);
        command
    }

    fn build(&self, recipe: &str, wave: &str, who: u64) -> Command {
        let mut command = self.rbuild(&["build", "--progress", "plain", "--allow", "network.host"]);
        let base = self.place.join("busybox");
        command.arg("--build-context");
        command.arg(format!("busybox=oci-layout://{}", base.display()));
        command.args(["--secret", "id=who,env=WHO"]);
        command.env("WHO", who.to_string());
        command.args(["--build-arg", &format!("WAVE={wave}")]);
        command.args(["--build-arg", &format!("PORT={}", self.witness.port())]);
        command.arg(self.place.join(recipe));
        command
    }

    /// A build with the limit, for when nobody else is at work.
    pub(super) fn build_in_peace(&self) -> Command {
        let who = self.next.fetch_add(1, Ordering::Relaxed);
        let mut command = self.build("plain", &format!("peace.{who}"), who);
        command.arg("--cache-max").arg(CAP.to_string());
        command
    }

    /// Runs a process to its end, or to its death.
    fn carry_out(&self, mut job: Job, fate: Fate, tally: &Tally) {
        let logs = self.place.join("logs");
        let log = logs.join(job.who.to_string());
        let file = File::create(&log).expect("make a log");
        let begun = Instant::now();
        let mut child = job
            .command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file)
            .spawn()
            .expect("start rbuild");
        let limit = match fate {
            Fate::After(delay) => delay,
            Fate::Lives | Fate::InStep(_) => LIMIT,
        };
        if let Fate::InStep(delay) = fate {
            let pid = Pid::from_raw(child.id().cast_signed()).expect("a child has an id");
            let process = pidfd_open(pid, PidfdFlags::empty()).expect("open the child");
            self.witness.doom(job.who, process, delay);
        }
        if !ends_within(&child, limit) {
            if let Fate::After(_) = fate {
                self.witness.note_killed(job.who);
            }
            // Its own process only: the kernel takes the rest along.
            child.kill().expect("kill it");
        }
        let status = child.wait().expect("wait for rbuild");
        let was_killed = self.witness.settle(job.who) && status.signal() == Some(9);
        let count = match (status.success(), job.is_build) {
            (true, true) => &tally.built,
            (true, false) => &tally.commands,
            (false, _) if was_killed => &tally.killed,
            (false, _) => {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let mut faults = tally.faults.lock().unwrap_or_else(PoisonError::into_inner);
                faults.push(format!(
                    "{:?} ended with {status} after {:?}\n{text}",
                    job.command,
                    begun.elapsed()
                ));
                return;
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        for file in [log, logs.join(format!("{}.tar", job.who))] {
            fs::remove_file(file).ok();
        }
    }
}
