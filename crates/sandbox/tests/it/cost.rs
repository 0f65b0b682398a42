//! What a step costs before its program runs. Printed; the bound only catches mistakes of another size.

use std::fmt;
use std::time::{Duration, Instant};

use rbuild_progress::CancelToken;
use rbuild_sandbox::{Network, Nursery, NurseryConfig};

use crate::Test;
use crate::bed::Bed;

pub const TESTS: &[Test] = &[("step_cost", step_cost), ("nursery_cost", nursery_cost)];

/// The fastest of some runs, and the one in the middle: other load on the machine only adds.
#[derive(Clone, Copy)]
struct Cost {
    least: Duration,
    median: Duration,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (median {:?})", self.least, self.median)
    }
}

fn cost_of(mut run: impl FnMut() -> Duration) -> Cost {
    let mut times: Vec<Duration> = (0..41).map(|_| run()).collect();
    times.sort();
    Cost {
        least: times[0],
        median: times[times.len() / 2],
    }
}

fn step_cost(bed: &Bed) {
    let cost = |network| {
        cost_of(|| {
            let mut spec = bed.spec_on(vec![bed.base()], &["/bin/true"]);
            spec.network = network;
            let begun = Instant::now();
            bed.run(&spec);
            begun.elapsed()
        })
    };
    let (host, none) = (cost(Network::Default), cost(Network::None));
    let job = cost_of(|| {
        let begun = Instant::now();
        bed.nursery
            .run_job(b"upper a", &[], &CancelToken::new())
            .unwrap();
        begun.elapsed()
    });
    println!("    step {host}, without network {none}, job {job}; the program included");
    assert!(host.least < Duration::from_millis(100));
}

fn nursery_cost(bed: &Bed) {
    let config = NurseryConfig {
        helper: "/proc/self/exe".into(),
        mode: bed.mode.clone(),
    };
    let start = cost_of(|| {
        let begun = Instant::now();
        let _nursery = Nursery::start(&config).unwrap();
        begun.elapsed()
    });
    println!("    nursery {start} to start");
    assert!(start.least < Duration::from_secs(1));
}
