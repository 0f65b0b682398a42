//! The parser against the recorded results: the same tree, the same words, the same errors.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rbuild_testkit::run;
use serde_json::Value;

use super::Options;
use super::record::{Part, Results, Verdict, settle};
use super::summary::{Summary, kind_of_file};
use crate::shell;

/// Keys that are compared.
const KEYS: &[&str] = &[
    "escape",
    "syntax",
    "check",
    "parse_error",
    "parse_warnings",
    "nodes",
    "dump",
    "instructions_error",
    "meta_args",
    "stages",
    "lint",
    "build_error",
];

/// Files handed to one process: enough to make its start not count, few enough for a command line.
const BATCH: usize = 200;

/// Parses every recorded file and compares.
pub fn compare(corpus: &Path, binary: &Path, options: &Options) -> Result<Summary> {
    let wanted = oracle(corpus, options)?;
    let mut results = Results::new();
    for batch in wanted.chunks(BATCH) {
        let files: Vec<&str> = batch.iter().map(name).collect();
        let answers = parse(corpus, binary, &files);
        let answers = if answers.len() == batch.len() {
            answers
        } else {
            // One file stopped the process: find out which.
            files
                .iter()
                .map(|file| parse(corpus, binary, &[file]).pop().unwrap_or_default())
                .collect()
        };
        for (want, got) in batch.iter().zip(answers) {
            let verdict = Verdict {
                kind: kind_of_file(name(want)),
                difference: difference(want, got),
            };
            results.insert(name(want).to_owned(), verdict);
        }
    }
    settle(
        Part::Parse,
        &results,
        options.only.is_none(),
        options.record,
    )
}

fn name(line: &Value) -> &str {
    line["file"].as_str().unwrap_or_default()
}

fn oracle(corpus: &Path, options: &Options) -> Result<Vec<Value>> {
    let folder = corpus.join("oracle");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .with_context(|| format!("list {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        for line in shell::read(&file)?.lines() {
            let value: Value =
                serde_json::from_str(line).with_context(|| format!("read {}", file.display()))?;
            if options.wants(name(&value)) {
                lines.push(value);
            }
        }
    }
    Ok(lines)
}

/// Returns one answer for each file; fewer where the process ended early.
fn parse(corpus: &Path, binary: &Path, files: &[&str]) -> Vec<Value> {
    let mut debug = Command::new(binary);
    debug
        .current_dir(corpus)
        .args(["debug", "parse", "--json"])
        .args(files);
    let printed = run(&mut debug, Duration::from_secs(60)).stdout;
    printed
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Returns the first difference, with where it is.
fn difference(want: &Value, got: Value) -> Option<String> {
    if got.is_null() {
        return Some("no answer".to_owned());
    }
    KEYS.iter().find_map(|key| {
        // Recorded for the parser's own test files only; the nodes say the same.
        if *key == "dump" && want.get("dump").is_none() {
            return None;
        }
        let (mut want, mut got) = (want[*key].clone(), got[*key].clone());
        sort_unordered(&mut want);
        sort_unordered(&mut got);
        match *key {
            "lint" => {
                sort_findings(&mut want);
                sort_findings(&mut got);
            }
            "build_error" => leave_out_unknown_place(&want, &mut got),
            _ => {}
        }
        first_difference(key, &want, &got)
    })
}

/// Sorts what BuildKit prints in random order.
pub fn sort_unordered(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Array(flags)) = map.get_mut("flags_used") {
                flags.sort_by_key(ToString::to_string);
            }
            map.values_mut().for_each(sort_unordered);
        }
        Value::Array(items) => items.iter_mut().for_each(sort_unordered),
        _ => {}
    }
}

/// BuildKit's order within a line is random, and nobody reads more than one file's order.
fn sort_findings(findings: &mut Value) {
    if let Value::Array(findings) = findings {
        findings.sort_by_key(|found| (found["line"].as_u64(), found.to_string()));
    }
}

/// Where BuildKit knows no place of an error, ours is not judged.
fn leave_out_unknown_place(want: &Value, got: &mut Value) {
    if want["line"] == 0
        && let Value::Object(got) = got
    {
        got.insert("line".to_owned(), 0.into());
        got.remove("end_line");
    }
}

/// Returns the innermost place at which two values differ, with both.
pub fn first_difference(at: &str, want: &Value, got: &Value) -> Option<String> {
    if want == got {
        return None;
    }
    let deeper = match (want, got) {
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .enumerate()
            .find_map(|(n, (want, got))| first_difference(&format!("{at}[{n}]"), want, got)),
        (Value::Object(left), Value::Object(right)) => left
            .keys()
            .chain(right.keys())
            .find_map(|key| first_difference(&format!("{at}.{key}"), &want[key], &got[key])),
        _ => None,
    };
    Some(deeper.unwrap_or_else(|| format!("{at}: want {}, got {}", brief(want), brief(got))))
}

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_names_its_place() {
        let want = json!({ "nodes": [{ "cmd": "RUN" }, { "cmd": "COPY" }] });
        let got = json!({ "nodes": [{ "cmd": "RUN" }, { "cmd": "ADD" }] });
        let found = difference(&want, got);
        assert_eq!(
            found.as_deref(),
            Some("nodes[1].cmd: want \"COPY\", got \"ADD\"")
        );
    }

    #[test]
    fn findings_are_compared_as_sets_and_places_where_they_are_known() {
        let want = json!({
            "lint": [{ "line": 2, "rule": "a" }, { "line": 2, "rule": "b" }],
            "build_error": { "message": "m", "line": 0 },
        });
        let got = json!({
            "lint": [{ "line": 2, "rule": "b" }, { "line": 2, "rule": "a" }],
            "build_error": { "message": "m", "line": 3, "end_line": 3 },
        });
        assert_eq!(difference(&want, got), None);
        let fewer = json!({ "lint": [{ "line": 2, "rule": "a" }] });
        assert!(difference(&want, fewer).is_some());
    }

    #[test]
    fn the_order_of_flags_does_not_count() {
        let want = json!({ "stages": [{ "flags_used": ["a", "b"] }] });
        let got = json!({ "stages": [{ "flags_used": ["b", "a"] }] });
        assert_eq!(difference(&want, got), None);
    }
}
