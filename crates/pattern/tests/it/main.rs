//! The ignore language against recorded results of other builders, where those are at hand.

#![cfg(test)]
use std::path::PathBuf;

use rbuild_pattern::{IgnoreSet, IncludeSet};
use serde_json::Value;

/// The lines of a recorded file, or `None` (saying so) where the recordings are not at hand.
fn vectors(name: &str) -> Option<Vec<Value>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/conformance/parser/vectors");
    let path = dir.join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no recorded results at {}", path.display());
        return None;
    };
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn patterns(case: &Value) -> Vec<String> {
    let list = case["patterns"].as_array().unwrap();
    list.iter()
        .map(|pattern| pattern.as_str().unwrap().to_owned())
        .collect()
}

fn check_matches(name: &str) {
    let Some(cases) = vectors(name) else { return };
    assert!(!cases.is_empty());
    for case in cases {
        let path = case["path"].as_str().unwrap();
        match IncludeSet::new(patterns(&case)) {
            Ok(set) => {
                assert_eq!(case["error"], Value::Null, "{case}");
                assert_eq!(
                    set.matches(path),
                    case["match"].as_bool().unwrap(),
                    "{case}"
                );
            }
            Err(error) => {
                let wanted = case["error"].as_str().unwrap_or_default();
                assert!(
                    !wanted.is_empty() && error.to_string().starts_with(wanted),
                    "{case}"
                );
            }
        }
    }
}

#[test]
fn recorded_matches_agree() {
    check_matches("ignore-match-parents.jsonl");
    check_matches("ignore-match-plain.jsonl");
}

#[test]
fn recorded_bad_patterns_are_refused() {
    let Some(cases) = vectors("ignore-bad-patterns.jsonl") else {
        return;
    };
    for case in cases {
        let error = IgnoreSet::from_patterns(patterns(&case))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(case["error"].as_str().unwrap()),
            "{case}: {error}"
        );
    }
}

#[test]
fn recorded_files_hold_the_same_patterns() {
    let Some(cases) = vectors("ignore-files.jsonl") else {
        return;
    };
    for case in cases {
        // The recording lists patterns that only fail later; here a lone `!` fails at once.
        let text: String = case["text"]
            .as_str()
            .unwrap()
            .lines()
            .filter(|line| line.trim() != "!")
            .map(|line| format!("{line}\n"))
            .collect();
        let set = IgnoreSet::parse(&text).unwrap();
        let wanted = patterns(&case).into_iter().filter(|pattern| pattern != "!");
        for pattern in wanted {
            match pattern.strip_prefix('!') {
                None => assert!(set.verdict(&pattern).is_excluded(), "{pattern}"),
                Some(_) => assert!(set.has_exceptions()),
            }
        }
        assert!(IgnoreSet::parse(case["text"].as_str().unwrap()).is_err());
    }
}
