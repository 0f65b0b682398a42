//! What a step costs before its program runs. Printed; the bound only catches mistakes of another size.

use std::time::{Duration, Instant};

use rbuild_progress::CancelToken;
use rbuild_sandbox::{Network, Nursery, NurseryConfig};

use crate::Test;
use crate::bed::Bed;

pub const TESTS: &[Test] = &[("step_cost", step_cost), ("nursery_cost", nursery_cost)];

/// Returns the median of some runs.
fn median(mut run: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..41).map(|_| run()).collect();
    times.sort();
    times[times.len() / 2]
}

fn step_cost(bed: &Bed) {
    let cost = |network| {
        median(|| {
            let mut spec = bed.spec_on(vec![bed.base()], &["/bin/true"]);
            spec.network = network;
            let begun = Instant::now();
            bed.run(&spec);
            begun.elapsed()
        })
    };
    let (host, none) = (cost(Network::Default), cost(Network::None));
    let job = median(|| {
        let begun = Instant::now();
        bed.nursery
            .run_job(b"upper a", &[], &CancelToken::new())
            .unwrap();
        begun.elapsed()
    });
    println!(
        "    step {host:?}, without network {none:?}, job {job:?} (medians, the program included)"
    );
    assert!(host < Duration::from_millis(100));
}

fn nursery_cost(bed: &Bed) {
    let config = NurseryConfig {
        helper: "/proc/self/exe".into(),
        mode: bed.mode.clone(),
    };
    let start = median(|| {
        let begun = Instant::now();
        let _nursery = Nursery::start(&config).unwrap();
        begun.elapsed()
    });
    println!("    nursery {start:?} to start");
    assert!(start < Duration::from_secs(1));
}
