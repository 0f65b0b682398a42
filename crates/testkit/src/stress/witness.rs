//! What steps say of themselves while they run, over the loopback network: nothing that lies in the store.
//!
//! A connection lasts as long as its step. Its first line is the step's name and the number of the process
//! that it belongs to; `done` is the last one of a step that ran to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};

use super::crew::Weather;

/// One run of a step.
struct Run {
    who: u64,
    begun: Instant,
    ended: Option<Instant>,
    done: bool,
}

#[derive(Default)]
struct Seen {
    /// Runs by the step's name, of this round.
    runs: BTreeMap<String, Vec<Run>>,
    faults: Vec<String>,
    /// Done, cut off, and different steps of earlier rounds.
    before: (u64, u64, u64),
    /// Processes that are to be killed while they run a step, and how long it has begun by then.
    doomed: BTreeMap<u64, (OwnedFd, Duration)>,
    /// Processes that were killed, for this reason or another.
    killed: BTreeSet<u64>,
}

/// Listens to steps until it is dropped.
pub(super) struct Witness {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen on the loopback");
        let port = listener.local_addr().expect("an address").port();
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (heard, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let seen = Arc::clone(&heard);
                thread::spawn(move || listen(stream, &seen));
            }
        });
        Self {
            port,
            seen,
            stop,
            thread: Some(thread),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Has a process killed once a step of it has run for a while.
    pub(super) fn doom(&self, who: u64, process: OwnedFd, delay: Duration) {
        lock(&self.seen).doomed.insert(who, (process, delay));
    }

    /// Notes that a process is killed; call it before.
    pub(super) fn note_killed(&self, who: u64) {
        lock(&self.seen).killed.insert(who);
    }

    /// Whether a process was killed, which is over.
    pub(super) fn settle(&self, who: u64) -> bool {
        let mut seen = lock(&self.seen);
        seen.doomed.remove(&who);
        seen.killed.contains(&who)
    }

    /// What was wrong in the round that has ended; forgets its runs.
    pub(super) fn judge(&self, weather: Weather) -> Vec<String> {
        let mut seen = lock(&self.seen);
        let killed = std::mem::take(&mut seen.killed);
        let runs = std::mem::take(&mut seen.runs);
        let mut faults = std::mem::take(&mut seen.faults);
        for (name, mut runs) in runs {
            runs.sort_by_key(|run| run.begun);
            seen.before.0 += runs.iter().filter(|run| run.done).count() as u64;
            seen.before.1 += runs.iter().filter(|run| !run.done).count() as u64;
            seen.before.2 += 1;
            faults.extend(judge(&name, &runs, weather, &|who| killed.contains(&who)));
        }
        faults
    }

    /// Runs that were done, those that were cut off, and different steps, up to the last judgement.
    pub(super) fn seen(&self) -> (u64, u64, u64) {
        lock(&self.seen).before
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread up, which then looks at the flag.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes down what a step says.
fn listen(stream: TcpStream, seen: &Mutex<Seen>) {
    let begun = Instant::now();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let parsed = first.split_once(' ').and_then(|(name, who)| {
        let who = who.parse().ok()?;
        Some((name.to_owned(), who))
    });
    let Some((name, who)) = parsed else {
        lock(seen).faults.push(format!("a step said {first:?}"));
        return;
    };
    let number = {
        let mut seen = lock(seen);
        let runs = seen.runs.entry(name.clone()).or_default();
        runs.push(Run {
            who,
            begun,
            ended: None,
            done: false,
        });
        runs.len() - 1
    };
    let doom = lock(seen).doomed.remove(&who);
    if let Some((process, delay)) = doom {
        thread::sleep(delay);
        lock(seen).killed.insert(who);
        // Gone already, if it was that quick.
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
    let mut done = false;
    for line in lines {
        if line == "done" {
            done = true;
        } else {
            lock(seen).faults.push(format!("step {first}: {line}"));
        }
    }
    let mut seen = lock(seen);
    let runs = seen.runs.get_mut(&name);
    if let Some(run) = runs.and_then(|runs| runs.get_mut(number)) {
        (run.ended, run.done) = (Some(Instant::now()), done);
    }
}

/// What is wrong with the runs of one step, in the order in which they began.
///
/// A run of a process that was killed proves nothing: it may have ended, and the process not lived to
/// write that down.
fn judge(
    name: &str,
    runs: &[Run],
    weather: Weather,
    was_killed: &dyn Fn(u64) -> bool,
) -> Vec<String> {
    let mut faults = Vec::new();
    let whole: Vec<&Run> = runs.iter().filter(|run| !was_killed(run.who)).collect();
    for (place, run) in whole.iter().enumerate() {
        if !run.done {
            faults.push(format!(
                "step {name} of living process {} was cut off",
                run.who
            ));
        }
        for later in whole.iter().skip(place + 1) {
            let overlap = run.ended.is_none_or(|ended| later.begun < ended);
            if overlap || weather == Weather::Calm {
                let what = if overlap { "by two at once" } else { "again" };
                faults.push(format!(
                    "step {name} was run {what}: by {} and {}",
                    run.who, later.who
                ));
            }
        }
        // Also by those that were killed later on: it was on record by then.
        let again = runs
            .iter()
            .filter(|other| was_killed(other.who) && weather == Weather::Calm)
            .find(|other| run.ended.is_some_and(|ended| other.begun > ended));
        if let Some(other) = again {
            faults.push(format!(
                "step {name} was begun again by {}, after {} had made it",
                other.who, run.who
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Runs as (process, begin, end, done), in milliseconds; processes from 10 on were killed.
    #[track_caller]
    fn check(weather: Weather, runs: &[(u64, u64, u64, bool)], faults: usize) {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let runs: Vec<Run> = runs
            .iter()
            .map(|&(who, begun, ended, done)| Run {
                who,
                begun: at(begun),
                ended: Some(at(ended)),
                done,
            })
            .collect();
        let found = judge("x", &runs, weather, &|who| who >= 10);
        assert_eq!(found.len(), faults, "{found:?}");
    }

    #[test]
    fn a_step_may_be_run_again_only_after_a_kill_or_a_collection() {
        check(Weather::Calm, &[(1, 0, 10, true)], 0);
        check(Weather::Calm, &[(10, 0, 10, false), (1, 11, 20, true)], 0);
        check(Weather::Calm, &[(10, 0, 10, true), (1, 11, 20, true)], 0);
        check(Weather::Calm, &[(1, 0, 10, true), (2, 11, 20, true)], 1);
        check(Weather::Calm, &[(1, 0, 10, true), (10, 11, 20, false)], 1);
        check(Weather::Storm, &[(1, 0, 10, true), (2, 11, 20, true)], 0);
        check(Weather::Storm, &[(1, 0, 10, true), (2, 9, 20, true)], 1);
        check(Weather::Storm, &[(1, 0, 10, false)], 1);
    }
}
