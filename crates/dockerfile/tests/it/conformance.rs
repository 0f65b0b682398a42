//! The parser against what BuildKit's packages recorded, where that corpus is at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The keys that are compared; what the linter and the build find is not the parser's.
const KEYS: [&str; 10] = [
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
];

/// Differences that stay, each with its reason.
const KNOWN: &[(&str, &str)] = &[];

fn corpus() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    root.is_dir().then_some(root)
}

/// Flags used are a set: BuildKit's order is random.
fn sort_sets(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                if let (true, Value::Array(list)) = (key == "flags_used", &mut *inner) {
                    list.sort_by_key(|name| name.to_string());
                }
                sort_sets(inner);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(sort_sets),
        _ => {}
    }
}

/// Returns the first key in which the two differ, with both values.
fn difference(expected: &Map<String, Value>, found: &Map<String, Value>) -> Option<String> {
    let dumped = expected.contains_key("dump");
    KEYS.iter()
        .filter(|key| dumped || **key != "dump")
        .find(|key| expected.get(**key) != found.get(**key))
        .map(|key| {
            let text = |map: &Map<String, Value>| match map.get(*key) {
                Some(value) => value.to_string(),
                None => "(absent)".to_owned(),
            };
            format!(
                "{key}\n  expected {}\n  found    {}",
                text(expected),
                text(found)
            )
        })
}

#[test]
fn oracle_files() {
    let Some(root) = corpus() else {
        println!("skipped: no conformance corpus beside the repository");
        return;
    };
    let mut totals: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root.join("oracle")).expect("oracle") {
        let path = entry.expect("entry").path();
        let set = path
            .file_stem()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        let lines = std::fs::read_to_string(&path).expect("oracle file");
        for line in lines.lines() {
            let mut expected: Value = serde_json::from_str(line).expect("JSON");
            let file = expected["file"].as_str().expect("file").to_owned();
            let text = std::fs::read(root.join(&file)).expect("Dockerfile");
            let mut found = rbuild_dockerfile::json::oracle_json(&file, &text);
            sort_sets(&mut expected);
            sort_sets(&mut found);
            let (all, equal) = totals.entry(set.clone()).or_default();
            *all += 1;
            let maps = (expected.as_object(), found.as_object());
            let (Some(expected), Some(found)) = maps else {
                panic!("{file}: not an object");
            };
            match difference(expected, found) {
                None => *equal += 1,
                Some(_) if KNOWN.iter().any(|(known, _)| *known == file) => {}
                Some(found) => wrong.push(format!("{file}: {found}")),
            }
        }
    }
    for (set, (all, equal)) in &totals {
        println!("{set}: {equal} of {all} equal");
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
