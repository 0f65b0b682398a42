//! The live picture.

use rbuild::progress::Event;
use rbuild_cli::render::{Canvas, Ending, Phase, Tty, Work};
use rbuild_cli::style::{Colour, Look, Symbols};

use crate::feed::*;
use crate::snapshot::{check, readable};

fn canvas(rows: usize, columns: usize) -> Canvas {
    Canvas {
        rows,
        columns,
        look: Look {
            colour: Colour::None,
            symbols: Symbols::Unicode,
        },
    }
}

fn fed(events: &[Event]) -> Tty {
    let mut tty = Tty::new(Work::Build, at(0));
    events.iter().for_each(|event| tty.event(event));
    tty
}

/// The text of a picture without what moves the cursor.
fn lines(picture: &str) -> String {
    anstream::adapter::strip_str(picture)
        .to_string()
        .replace('\r', "")
}

fn compiling() -> Vec<Event> {
    let run = "[build 3/4] RUN cargo build";
    let mut events = vec![
        planned("[build 4/4] RUN strip"),
        cached("[build 1/4] FROM docker.io/library/rust:1.90", 0),
        done("[build 2/4] COPY . .", 0, 210),
        started(run, 210),
        started("[stage-1 1/2] FROM docker.io/library/debian:12", 210),
        status(
            "[stage-1 1/2] FROM docker.io/library/debian:12",
            "sha256:5f70bf18a086",
            12_000_000,
            Some(48_000_000),
            None,
        ),
    ];
    events.extend((0..9).map(|n| log(run, 300, &format!("   Compiling crate-{n} 日本語\n"))));
    events
}

#[test]
fn picture_of_a_running_build() {
    let mut tty = fed(&compiling());
    check(
        "tty-running.txt",
        &lines(&tty.picture(at(3_250), canvas(24, 80), Phase::Live)),
    );
}

#[test]
fn small_terminal_shows_what_matters() {
    let mut tty = fed(&compiling());
    check(
        "tty-small.txt",
        &lines(&tty.picture(at(3_250), canvas(8, 40), Phase::Live)),
    );
    let mut tty = fed(&compiling());
    check(
        "tty-tiny.txt",
        &lines(&tty.picture(at(3_250), canvas(3, 12), Phase::Live)),
    );
}

#[test]
fn every_line_fits() {
    for columns in 1..90 {
        let picture = fed(&compiling()).picture(at(3_250), canvas(24, columns), Phase::Live);
        for line in lines(&picture).lines() {
            let wide = unicode_width::UnicodeWidthStr::width(line);
            assert!(wide <= columns, "{wide} > {columns}: {line}");
        }
    }
}

#[test]
fn ended_steps_move_up_for_good() {
    let events: Vec<Event> = (0..30).map(|n| done(&format!("step {n}"), 0, 10)).collect();
    let mut tty = fed(&events);
    let first = lines(&tty.picture(at(1_000), canvas(12, 80), Phase::Live));
    assert_eq!(first.matches("step ").count(), 30);
    let second = lines(&tty.picture(at(2_000), canvas(12, 80), Phase::Live));
    assert!(second.starts_with("[+] Building 2.0s (30/30)"));
    assert!(second.lines().count() < 12);
    let done = Phase::Final(Ending::Finished);
    let last = lines(&tty.picture(at(3_000), canvas(12, 80), done));
    assert!(last.contains("step 29") && !last.contains("step 0 "));
    let end = "[+] Building 3.0s (30/30) FINISHED\n";
    assert!(last.ends_with(end), "where it is seen: {last}");
}

#[test]
fn end_of_a_failed_build() {
    let mut tty = fed(&[
        cached("[1/3] FROM x", 0),
        failed("[2/3] RUN exit 7", 0, 300, "exit code: 7"),
        failed("[other 1/2] RUN sleep 9", 0, 300, "context canceled"),
    ]);
    let mut canvas = canvas(24, 60);
    check(
        "tty-failed.txt",
        &lines(&tty.picture(at(400), canvas, Phase::Final(Ending::Failed))),
    );
    canvas.look.colour = Colour::Ansi;
    canvas.columns = 61;
    check(
        "tty-failed-colours.txt",
        &readable(&tty.picture(at(400), canvas, Phase::Final(Ending::Failed))),
    );
}

#[test]
fn picture_leaves_a_line_for_the_cursor() {
    let events: Vec<Event> = (0..30)
        .map(|n| started(&format!("step {n}"), 0))
        .chain((0..200).map(|n| log(&format!("step {}", n % 30), 5, "text\n")))
        .collect();
    for rows in 3..40 {
        let picture = fed(&events).picture(at(1_000), canvas(rows, 80), Phase::Live);
        assert!(lines(&picture).lines().count() < rows, "{rows}");
    }
}

#[test]
fn spare_lines_go_to_the_steps_that_run_longest() {
    let events: Vec<Event> = (0..12)
        .map(|n| started(&format!("step {n}"), n))
        .chain((0..12).map(|n| log(&format!("step {n}"), 50, "text\n")))
        .collect();
    let picture = lines(&fed(&events).picture(at(1_000), canvas(24, 80), Phase::Live));
    assert_eq!(picture.lines().count(), 23);
    assert_eq!(picture.matches("text").count(), 10);
}

#[test]
fn a_push_is_no_build() {
    for (work, word) in [(Work::Build, "[+] Building "), (Work::Push, "[+] Pushing ")] {
        let end = Phase::Final(Ending::Finished);
        let picture = Tty::new(work, at(0)).picture(at(1000), canvas(10, 60), end);
        assert!(picture.contains(word), "{picture:?}");
    }
}

#[test]
fn a_running_step_says_why_it_was_missed() {
    let run = "[2/3] RUN make";
    let mut events = vec![started(run, 0), miss(run, "ENV A changed")];
    let live = |events: &[Event]| lines(&fed(events).picture(at(500), canvas(20, 80), Phase::Live));
    let shown = live(&events);
    assert!(shown.contains("│ cache miss: ENV A changed"), "{shown}");
    events.push(done(run, 0, 400));
    let shown = live(&events);
    assert!(!shown.contains("cache miss"), "{shown}");
}
