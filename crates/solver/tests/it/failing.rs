//! Failures, cancellation and panics.

use std::error::Error;
use std::sync::Barrier;
use std::time::Duration;

use rbuild_progress::CancelToken;
use rbuild_solver::SolveError;

use crate::build::Build;
use crate::fake::{Fake, Index, Refused};

/// Waits until the solve is stopped; fails the test by its error if that never happens.
fn until_stopped(cancel: &CancelToken) -> Result<(), Refused> {
    let word = match cancel.wait(Duration::from_secs(60)) {
        Ok(()) => "was never stopped",
        Err(_) => "stopped",
    };
    Err(Refused(word.to_owned()))
}

#[test]
fn failure_names_its_vertex_and_stops_the_others() {
    let mut build = Build::default();
    let image = build.image("a");
    let bad = build.exec(["bad", "/x", "x"], image, &[]);
    let long = build.exec(["long", "/y", "y"], image, &[]);
    let above = build.exec(["above", "/z", "z"], bad, &[]);
    let both_run = Barrier::new(2);
    let worker = Fake {
        hook: Some(Box::new(move |label, cx| {
            both_run.wait();
            match label {
                "bad" => Err(Refused("exit code: 7".to_owned())),
                _ => until_stopped(cx.cancel),
            }
        })),
        ..Fake::default()
    };
    let answer = build.solve(&[long, above], &worker, &Index::default());
    let ends = answer.ends();
    let error = answer.result.unwrap_err();
    assert_eq!(error.vertex(), Some(bad));
    assert_eq!(error.to_string(), "bad");
    assert_eq!(error.source().unwrap().to_string(), "exit code: 7");
    assert_eq!(ends["bad"], "exit code: 7");
    assert_eq!(ends["long"], "context canceled");
    assert_eq!(ends["above"], "open");
}

#[test]
fn what_was_made_before_a_failure_is_found_again() {
    let index = Index::default();
    let mut build = Build::default();
    let image = build.image("a");
    let good = build.exec(["good", "/x", "x"], image, &[]);
    let bad = build.exec(["bad", "/y", "y"], good, &[]);
    let mut worker = Fake {
        hook: Some(Box::new(|label, _| match label {
            "bad" => Err(Refused("no".to_owned())),
            _ => Ok(()),
        })),
        ..Fake::default()
    };
    assert!(build.solve(&[bad], &worker, &index).result.is_err());
    worker.hook = None;
    worker.ran.lock().unwrap().clear();
    build.solve(&[bad], &worker, &index).result.unwrap();
    assert_eq!(worker.ran(), ["bad"]);
}

#[test]
fn cancel_reaches_a_running_vertex() {
    let mut build = Build::default();
    let image = build.image("a");
    let long = build.exec(["long", "/x", "x"], image, &[]);
    let token = CancelToken::new();
    let from_inside = token.clone();
    let worker = Fake {
        hook: Some(Box::new(move |_, cx| {
            from_inside.cancel();
            until_stopped(cx.cancel)
        })),
        ..Fake::default()
    };
    let answer = build.solve_with(&[long], &worker, &Index::default(), &token);
    assert_eq!(answer.ends()["long"], "context canceled");
    assert!(matches!(answer.result, Err(SolveError::Cancelled)));
}

#[test]
fn cancelled_before_it_begins_runs_nothing() {
    let mut build = Build::default();
    let image = build.image("a");
    let step = build.exec(["step", "/x", "x"], image, &[]);
    let token = CancelToken::new();
    token.cancel();
    let worker = Fake::default();
    let answer = build.solve_with(&[step], &worker, &Index::default(), &token);
    assert!(matches!(answer.result, Err(SolveError::Cancelled)));
    assert!(worker.ran().is_empty());
}

#[test]
fn panic_of_the_worker_is_an_error() {
    let mut build = Build::default();
    let image = build.image("a");
    let steps = ["one", "two"].map(|name| build.exec([name, "/x", "x"], image, &[]));
    let worker = Fake {
        hook: Some(Box::new(|label, cx| match label {
            "one" => panic!("index out of range"),
            _ => until_stopped(cx.cancel),
        })),
        ..Fake::default()
    };
    let answer = build.solve(&steps, &worker, &Index::default());
    let error = answer.result.unwrap_err();
    assert_eq!(error.vertex(), Some(steps[0]));
    assert_eq!(error.to_string(), "one: internal error: index out of range");
}

#[test]
fn base_without_identity_is_an_error() {
    let mut build = Build::default();
    let local = build.local();
    let step = build.exec(["step", "/x", "x"], local, &[]);
    let answer = build.solve(&[step], &Fake::default(), &Index::default());
    let error = answer.result.unwrap_err();
    assert!(matches!(error, SolveError::Unkeyed { input: 0, .. }));
}
