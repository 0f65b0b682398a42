//! How failures are told.

use rbuild::{ErrorKind, Excerpt, Report};
use rbuild_cli::style::{Colour, Look, Symbols};
use rbuild_cli::{excerpt, failure};

use crate::snapshot::{check, readable};

const COLOURS: Look = Look {
    colour: Colour::Ansi,
    symbols: Symbols::Unicode,
};

fn place(text: &str, first_line: u32, last_line: u32) -> Excerpt {
    Excerpt {
        file: "Dockerfile".to_owned(),
        text: text.to_owned(),
        first_line,
        last_line,
        span: None,
        label: None,
    }
}

fn report(excerpts: Vec<Excerpt>) -> Report {
    Report {
        kind: ErrorKind::Build,
        message: r#"process "/bin/sh -c exit 7" did not complete successfully: exit code: 7"#
            .to_owned(),
        excerpts,
        help: vec!["Try again.".to_owned()],
        vertex: None,
        log: Some("/root/logs/1.log".into()),
    }
}

#[test]
fn plain_excerpt_is_buildkits() {
    let text = excerpt(&place("FROM x\nRUN exit 7\n", 2, 2), Look::PLAIN);
    let expected = "Dockerfile:2\n\
                    --------------------\n\
                    \x20  1 |     FROM x\n\
                    \x20  2 | >>> RUN exit 7\n\
                    \x20  3 |     \n\
                    --------------------\n";
    assert_eq!(text, expected);
}

#[test]
fn context_is_clipped_and_narrower_around_several_lines() {
    let text: String = (1..=12).map(|n| format!("line {n}\n")).collect();
    let shown = |first, last| {
        let text = excerpt(&place(&text, first, last), Look::PLAIN);
        text.lines()
            .filter_map(|line| Some(line.split_once(" | ")?.0.trim().to_owned()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(shown(1, 1), "1 2 3");
    assert_eq!(shown(6, 6), "4 5 6 7 8");
    assert_eq!(shown(6, 8), "5 6 7 8 9");
    assert_eq!(shown(12, 12), "10 11 12 13");
    assert_eq!(shown(12, 99), "11 12 13");
    assert_eq!(shown(99, 99), "");
    assert_eq!(shown(0, 0), "");
}

#[test]
fn terminal_marks_the_narrower_place() {
    let text = "FROM x\n\tRUN \x1b[2J日本 exit 7\n";
    let start = text.find("exit").unwrap();
    let mut place = place(text, 2, 2);
    place.span = Some(start..start + 4);
    place.label = Some("here".to_owned());
    check("excerpt-colours.txt", &readable(&excerpt(&place, COLOURS)));
    // A place outside the text, or within a character, is not shown rather than a panic.
    for span in [1_000..2_000, start - 2..start, 0..text.len()] {
        place.span = Some(span);
        excerpt(&place, COLOURS);
    }
}

#[test]
fn whole_failure() {
    let report = report(vec![place("FROM x\nRUN exit 7\n", 2, 2)]);
    check(
        "failure-plain.txt",
        &failure(&report, "failed to solve: ", Look::PLAIN),
    );
    check(
        "failure-colours.txt",
        &readable(&failure(&report, "failed to solve: ", COLOURS)),
    );
}

#[test]
fn interruption_is_told_in_one_line() {
    let mut report = report(vec![]);
    report.kind = ErrorKind::Cancelled;
    let text = failure(&report, "failed to solve: ", Look::PLAIN);
    assert_eq!(text, "ERROR: failed to solve: canceled\n");
}

#[test]
fn line_ends_of_terminals_are_no_control_characters() {
    let mut report = report(Vec::new());
    report.message = "refused\r\nby \u{1b}[2Jssh".to_owned();
    let text = failure(&report, "", Look::PLAIN);
    assert!(
        text.ends_with("ERROR: refused\nby \u{fffd}[2Jssh\n"),
        "{text}"
    );
}
