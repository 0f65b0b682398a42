//! Plain progress.

use rbuild::progress::Event;
use rbuild_cli::render::{Mode, Plain, failed_steps, warnings};
use rbuild_cli::style::Look;

use crate::feed::*;
use crate::snapshot::check;

/// Shows events in groups that arrive together, each at its time.
fn shown(groups: &[(u64, Vec<Event>)]) -> String {
    let mut plain = Plain::default();
    let mut out = Vec::new();
    for (ms, events) in groups {
        for event in events {
            plain.event(event, at(*ms));
        }
        out.extend(plain.lines(at(*ms)));
    }
    let trace = plain.into_trace();
    out.extend(failed_steps(&trace, Mode::Plain, Look::PLAIN));
    out.extend(warnings(&trace, Look::PLAIN).into_bytes());
    String::from_utf8(out).unwrap()
}

#[test]
fn steps_one_after_the_other() {
    let definition = "[internal] load build definition from Dockerfile";
    let text = shown(&[
        (
            0,
            vec![
                planned(definition),
                planned("[1/3] FROM x"),
                planned("[2/3] RUN make"),
            ],
        ),
        (0, vec![started(definition, 0)]),
        (
            10,
            vec![done(definition, 0, 10), cached("[1/3] FROM x", 10)],
        ),
        (20, vec![started("[2/3] RUN make", 20)]),
        (143, vec![log("[2/3] RUN make", 143, "one\ntwo\npar")]),
        (200, vec![log("[2/3] RUN make", 200, "tial\n")]),
        (300, vec![log("[2/3] RUN make", 300, "no line end")]),
        (1_280, vec![done("[2/3] RUN make", 20, 1_280)]),
        (1_290, vec![started("[3/3] RUN rm -r x", 1_280)]),
        (1_300, vec![done("[3/3] RUN rm -r x", 1_280, 1_300)]),
    ]);
    check("plain-steps.txt", &text);
}

#[test]
fn steps_that_run_together_take_turns() {
    let (a, b) = ("[a 1/1] RUN a", "[b 1/1] RUN b");
    let text = shown(&[
        (0, vec![started(a, 0), started(b, 0)]),
        (1_000, vec![log(a, 1_000, "a1\n"), log(b, 1_000, "b1\n")]),
        (2_000, vec![log(a, 2_000, "a2 with"), log(b, 2_000, "b2\n")]),
        // Five seconds on the floor: the other one's turn, and a line is broken.
        (6_000, vec![log(b, 6_000, "b3\n")]),
        (7_000, vec![log(a, 7_000, "out end\n")]),
        (8_000, vec![done(b, 0, 8_000)]),
        (9_000, vec![done(a, 0, 9_000)]),
    ]);
    check("plain-turns.txt", &text);
}

#[test]
fn failed_and_stopped_steps() {
    let (bad, other) = ("[2/2] RUN exit 7", "[other 2/2] RUN sleep 9");
    let error = r#"process "/bin/sh -c exit 7" did not complete successfully: exit code: 7"#;
    let text = shown(&[
        (0, vec![started(bad, 0), started(other, 0)]),
        (123, vec![log(bad, 123, "what it said\nand more\n")]),
        (200, vec![failed(bad, 0, 200, error)]),
        (250, vec![failed(other, 0, 250, "context canceled")]),
    ]);
    check("plain-failed.txt", &text);
}

#[test]
fn pieces_of_work_and_warnings() {
    let from = "[1/1] FROM x";
    let text = shown(&[
        (
            0,
            vec![
                warning("StageNameCasing: lower case", 3),
                warning("StageNameCasing: lower case", 3),
            ],
        ),
        (
            0,
            vec![
                started(from, 0),
                status(from, "sha256:12", 0, Some(3_620_000), None),
            ],
        ),
        (
            100,
            vec![status(from, "sha256:12", 1_050_000, Some(3_620_000), None)],
        ),
        (
            5_000,
            vec![status(from, "sha256:12", 2_000_000, Some(3_620_000), None)],
        ),
        (
            5_100,
            vec![status(
                from,
                "sha256:12",
                3_620_000,
                Some(3_620_000),
                Some(5_100),
            )],
        ),
        (
            5_200,
            vec![status(from, "extracting", 17, None, Some(5_200))],
        ),
        (5_300, vec![done(from, 0, 5_300)]),
    ]);
    check("plain-statuses.txt", &text);
}

#[test]
fn names_cannot_steer_the_terminal() {
    let text = shown(&[(0, vec![cached("[1/1] RUN \x1b[2J\nx", 0)])]);
    assert_eq!(text, "#1 [1/1] RUN \u{fffd}[2J x\n#1 CACHED\n");
}

#[test]
fn step_that_begins_twice_adds_up() {
    let text = shown(&[
        (0, vec![started("a", 0), done("a", 0, 1_000)]),
        (3_000, vec![started("a", 3_000)]),
        (4_000, vec![done("a", 3_000, 4_000)]),
    ]);
    assert_eq!(text, "#1 a\n#1 DONE 1.0s\n\n#1 a\n#1 DONE 2.0s\n");
}

#[test]
fn status_that_is_over_before_it_is_shown_takes_one_line() {
    let text = shown(&[(
        0,
        vec![
            started("a", 0),
            status("a", "naming", 0, None, None),
            status("a", "naming", 0, None, Some(0)),
        ],
    )]);
    assert_eq!(text, "#1 a\n#1 naming done\n");
}

#[test]
fn a_step_says_why_it_was_missed_before_all_else() {
    let run = "[2/3] RUN make";
    let text = shown(&[
        (0, vec![started(run, 0), miss(run, "ENV A changed\x1b[2J")]),
        (10, vec![log(run, 10, "out\n")]),
        (20, vec![done(run, 0, 20)]),
    ]);
    let expected = "#1 [2/3] RUN make\n#1 cache miss: ENV A changed\u{fffd}[2J\n#1 0.010 out\n\
                    #1 DONE 0.0s\n";
    assert_eq!(text, expected);
}
