//! Raw progress, as BuildKit's clients write it.

use rbuild_cli::render::json_line;

use crate::feed::*;
use crate::snapshot::check;

#[test]
fn every_kind_of_event() {
    let text: String = [
        planned("a"),
        cached("a", 1_500),
        failed("b", 0, 1_000, "exit code: 7"),
        status("a", "sha256:12", 5, Some(10), None),
        status("a", "sha256:12", 0, None, Some(20)),
        log("a", 7, "text\n"),
        warning("Rule: message", 3),
    ]
    .iter()
    .map(|event| String::from_utf8(json_line(event, at(2_000))).unwrap())
    .collect();
    check("events.jsonl", &text);
}

#[test]
fn misses_are_a_list_of_their_own() {
    let line = json_line(&miss("a", "ENV A changed"), at(0));
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "{\"misses\":[{\"vertex\":\"sha256:a\",\"kind\":\"changed\",\"reason\":\"ENV A changed\"}]}\n"
    );
}
