//! Rules over the text of Rust files.

use crate::code::{SourceFile, sources, word_offsets};
use crate::report;

/// Longest production file, in lines that are neither blank nor comment.
const FILE_LINES: usize = 800;
/// Longest `lib.rs`, in all lines: it holds documentation, modules and re-exports only.
const LIB_LINES: usize = 160;
/// The only place where `unsafe` may stand.
const FENCE: &str = "crates/sys/";
const VAGUE: &[&str] = &[
    "common", "helper", "helpers", "misc", "types", "util", "utils",
];

fn offences(check: impl Fn(&SourceFile) -> Vec<String>) -> Vec<String> {
    sources().iter().flat_map(check).collect()
}

fn in_production(check: impl Fn(&SourceFile) -> Vec<String>) -> Vec<String> {
    offences(|file| {
        if file.is_test() {
            Vec::new()
        } else {
            check(file)
        }
    })
}

#[test]
fn files_stay_short() {
    let found = in_production(|file| {
        let lines = file
            .production
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        let library = file.path.ends_with("/src/lib.rs");
        let all = file.text.lines().count();
        if lines > FILE_LINES {
            vec![format!(
                "{}: {lines} lines of code, {FILE_LINES} is the ceiling",
                file.path
            )]
        } else if library && all > LIB_LINES {
            vec![format!(
                "{}: {all} lines, {LIB_LINES} is the ceiling for a lib.rs",
                file.path
            )]
        } else {
            Vec::new()
        }
    });
    report("split these files by noun", &found);
}

#[test]
fn every_module_says_what_lives_there() {
    let found = offences(|file| {
        // The tests of one file, moved beside it: their module's documentation is that file's.
        if file.path.contains("/src/") && file.path.ends_with("/tests.rs") {
            return Vec::new();
        }
        let first = file.text.lines().find(|line| !line.trim().is_empty());
        match first {
            Some(line) if line.starts_with("//!") => Vec::new(),
            _ => vec![format!("{}: no `//!` line at the top", file.path)],
        }
    });
    report("each module opens with its documentation", &found);
}

#[test]
fn module_names_say_something() {
    let found = offences(|file| {
        let stem = file
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs");
        let folder = file.path.split('/').any(|part| VAGUE.contains(&part));
        if folder || VAGUE.contains(&stem) {
            vec![format!("{}: name the thing", file.path)]
        } else {
            Vec::new()
        }
    });
    report("no module is called util or the like", &found);
}

#[test]
fn unsafe_stays_behind_the_fence() {
    let found = offences(|file| {
        if file.path.starts_with(FENCE) {
            return Vec::new();
        }
        file.places(&file.code, "unsafe")
    });
    report("`unsafe` outside crates/sys", &found);
}

#[test]
fn every_unsafe_block_is_argued() {
    let found = offences(|file| {
        let lines: Vec<&str> = file.text.lines().collect();
        word_offsets(&file.code, "unsafe")
            .filter(|&at| {
                let rest = file.code[at + "unsafe".len()..].trim_start();
                rest.starts_with('{') || rest.starts_with("impl")
            })
            .map(|at| file.line_of(at))
            .filter(|&line| !argued(&lines, line - 1))
            .map(|line| format!("{}:{line}: no SAFETY note", file.path))
            .collect()
    });
    report("`unsafe` without its argument", &found);
}

/// Whether the run of comment, attribute and expression-start lines above `line` holds a SAFETY note.
fn argued(lines: &[&str], line: usize) -> bool {
    let above = lines[..line].iter().rev().take_while(|text| {
        let text = text.trim();
        text.starts_with("//") || text.starts_with("#[") || text.ends_with(['=', '('])
    });
    std::iter::once(&lines[line])
        .chain(above)
        .any(|text| text.contains("SAFETY"))
}

#[test]
fn production_code_does_not_unwrap() {
    let found = in_production(|file| {
        let mut places = file.places(&file.production, ".unwrap()");
        for word in ["panic!", "todo!", "unimplemented!"] {
            if !file.path.starts_with("xtask/") {
                places.extend(file.places(&file.production, word));
            }
        }
        places
    });
    report(
        "no panics on outside data: return an error, or `expect` with the invariant",
        &found,
    );
}

#[test]
fn tests_are_never_ignored() {
    let found = offences(|file| {
        let mut places = file.places(&file.code, "#[ignore");
        places.extend(file.places(&file.code, "#[should_panic"));
        places
    });
    report("a test runs or is deleted", &found);
}

#[test]
fn only_programs_print() {
    let found = in_production(|file| {
        if file.is_program() {
            return Vec::new();
        }
        ["println!", "eprintln!", "print!", "eprint!", "dbg!"]
            .iter()
            .flat_map(|word| file.places(&file.production, word))
            .collect()
    });
    report("libraries send events, they do not print", &found);
}

#[test]
fn lowering_and_planning_have_no_effects() {
    let pure = [
        "crates/dockerfile/src/",
        "crates/frontend/src/",
        "crates/graph/src/",
        "crates/pattern/src/",
    ];
    let found = in_production(|file| {
        if !pure.iter().any(|top| file.path.starts_with(top)) {
            return Vec::new();
        }
        [
            "std::fs",
            "std::env",
            "TcpStream",
            "UdpSocket",
            "std::process",
            "SystemTime::now",
            "Instant::now",
        ]
        .iter()
        .flat_map(|word| file.places(&file.production, word))
        .collect()
    });
    report(
        "the pure middle reads no file, clock, environment or socket",
        &found,
    );
}
