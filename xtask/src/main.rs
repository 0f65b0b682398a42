//! The project's own chores, run as `cargo xtask NAME`.
//!
//! Everything a person or CI does with the repository beyond plain cargo commands is here, in Rust, so
//! that it is checked like the rest. It uses few crates: it is compiled before anything else can start.

mod apt;
mod azurite;
mod bench;
mod bootstrap;
mod conformance;
mod demo;
mod differential;
mod disk_cap;
mod foreign;
mod fuzz;
mod host;
mod judges;
mod load_judge;
mod moto;
mod packages;
mod s3;
mod services;
mod shell;
mod stress;
mod test;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

Commands:
  demo                              build and run a first image on this machine, from nothing
  test [quick|full]                 set up and run all checks and tests (default: full)
  conformance [--parse|--build]     compare with the results recorded from BuildKit
              [--only NAME] [--record]
  bench [--small] [NAME…]           time the workloads
  differential [COUNT] [--seed N]   ask BuildKit's own packages and ours the same random questions
               [--only SUBJECT]     (parse, word, ignore or glob; 20000 of each)
  fuzz [SECONDS] [TARGET…]          feed the parsers with anything (default: 12 seconds each)
  stress [--minutes N]              many processes on one store, killed at random
         [--processes N] [--seed N] (default: 1 minute, 32 processes)
  disk-cap [--builds N] [--seed N]  random builds on a small disk with a limit (default: 500)
  emulation                         build for another processor with a real emulator
  services                          build and run the larger Dockerfiles of testdata/builds
  s3                                let other people's S3 servers judge the cache in buckets
  azurite                           let Azure's stand-in judge the cache in containers (needs npm)
  judges                            let Docker, skopeo and umoci judge a built image
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.split_first() {
        Some((&"demo", [])) => demo::demo(),
        Some((&"test", [])) => test::test(test::Extent::Full),
        Some((&"test", [extent])) => test::Extent::parse(extent).and_then(test::test),
        Some((&"conformance", rest)) => {
            conformance::Options::parse(rest).and_then(|options| conformance::conformance(&options))
        }
        Some((&"bench", rest)) => bench::bench(rest),
        Some((&"differential", rest)) => differential::Options::parse(rest)
            .and_then(|options| differential::differential(&options)),
        Some((&"fuzz", rest)) => {
            fuzz::Options::parse(rest).and_then(|options| fuzz::fuzz(&options))
        }
        Some((&"stress", rest)) => stress::stress(rest),
        Some((&"disk-cap", rest)) => disk_cap::disk_cap(rest),
        Some((&"emulation", [])) => test::emulation(),
        Some((&"services", [])) => services::services(),
        Some((&"s3", [])) => s3::s3(),
        Some((&"azurite", [])) => azurite::azurite(),
        Some((&"judges", [])) => judges::judges(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
