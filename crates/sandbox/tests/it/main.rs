//! The nursery and its steps, as a real process runs them.
//!
//! No test harness: the nursery is this very binary executed again, so `nursery_main` must come first in
//! `main`. The same tests run in each mode: as root here, and in children that are root with fewer rights,
//! and an ordinary user with and without subordinate ids. Arguments that are no options select tests by part of their name.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod bed;
mod cost;
mod hostile;
mod jobs;
mod kill;
mod mounts;
mod old;
mod security;
mod step;
mod users;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use bed::Bed;
use rbuild_sandbox::{NurseryMode, nursery_main};
use rbuild_testkit::{Privilege, granted};

/// A test and its name.
type Test = (&'static str, fn(&Bed));

fn main() -> ExitCode {
    nursery_main(&jobs::TestDuties);
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(code) = security::as_interpreter(&arguments) {
        return code;
    }
    match arguments.first().map(String::as_str) {
        Some("--engine") => kill::engine(&arguments),
        Some("--as") => run_all(&arguments[1], &arguments[2..]),
        Some("--old") => {
            old::forget_new_calls();
            run_all("root", &arguments[1..])
        }
        // What `cargo test -- --list` asks for.
        Some("--list") => ExitCode::SUCCESS,
        _ => everybody(&arguments),
    }
}

/// Runs the tests in every mode that this user can be in.
fn everybody(filters: &[String]) -> ExitCode {
    let mut failed = false;
    if granted(Privilege::Root) {
        failed |= run_all("root", filters) != ExitCode::SUCCESS;
        failed |= old::run(filters) != ExitCode::SUCCESS;
        failed |= users::run_as_limited_root(filters) != ExitCode::SUCCESS;
        for mode in ["subordinate", "single-id"] {
            failed |= users::run_as_user(mode, filters) != ExitCode::SUCCESS;
        }
    } else if granted(Privilege::UserNamespaces) {
        failed |= run_all("own", filters) != ExitCode::SUCCESS;
    }
    ExitCode::from(u8::from(failed))
}

/// Runs all tests in the mode that the probe finds, which must be the one expected.
fn run_all(expected: &str, filters: &[String]) -> ExitCode {
    let mode = NurseryMode::probe().unwrap();
    let found = match mode {
        NurseryMode::Root => "root",
        NurseryMode::Nested { .. } => "nested",
        NurseryMode::Subordinate { .. } => "subordinate",
        NurseryMode::SingleId => "single-id",
    };
    assert!(
        expected == "own" || found == expected,
        "expected to be {expected}, found {found}"
    );
    let bed = Bed::new(mode);
    let groups: [&[Test]; 8] = [
        step::TESTS,
        users::TESTS,
        mounts::TESTS,
        security::TESTS,
        hostile::TESTS,
        jobs::TESTS,
        kill::TESTS,
        cost::TESTS,
    ];
    let filters: Vec<&String> = filters.iter().filter(|f| !f.starts_with('-')).collect();
    let mut failures = 0;
    for (name, test) in groups.into_iter().flatten() {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let passed = catch_unwind(AssertUnwindSafe(|| test(&bed))).is_ok();
        println!(
            "{found}: {name} ... {}",
            if passed { "ok" } else { "FAILED" }
        );
        failures += usize::from(!passed);
    }
    assert_eq!(bed.attached_mounts(), Vec::<String>::new());
    println!("{found}: {failures} failed");
    ExitCode::from(u8::from(failures > 0))
}
