//! Ignore files: no panic, verdicts that name the rule they come from, and walks that miss nothing.
//!
//! The input is the file, and behind NUL characters the paths to ask about.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use rbuild_pattern::{EntryKind, IgnoreSet, IncludeSet, Step, Verdict};

/// The rules of a file: line number and text.
fn rules(text: &str) -> Vec<(u32, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    (1..)
        .zip(text.split('\n'))
        .filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty())
        .map(|(number, line)| (number, line.trim()))
        // Of `/ /` nothing is left.
        .filter(|(_, rule)| !IncludeSet::new([rule]).is_ok_and(|set| set.is_empty()))
        .collect()
}

/// What every rule alone says of the path, the last effective one winning.
fn deciding(rules: &[(u32, &str)], path: &str) -> Option<usize> {
    let mut decided = None;
    for (index, (_, rule)) in rules.iter().enumerate() {
        let exception = rule.starts_with('!');
        // An exception is seen where everything else is hidden.
        let alone = match exception {
            true => IncludeSet::new(["**", *rule]),
            false => IncludeSet::new([*rule]),
        };
        let matches = alone.expect("was read before").matches(path) != exception;
        match (exception, decided) {
            (false, None) if matches => decided = Some(index),
            (true, Some(_)) if matches => decided = None,
            _ => {}
        }
    }
    decided
}

fn check_path(set: &IgnoreSet, rules: &[(u32, &str)], path: &str) {
    let found = match set.verdict(path) {
        Verdict::Included => None,
        Verdict::Excluded { index, line, text } => {
            assert_eq!(rules[index], (line, text));
            Some(index)
        }
    };
    assert_eq!(found, deciding(rules, path), "{rules:?} on {path:?}");
    let above = path.match_indices('/').map(|(at, _)| &path[..at]);
    for dir in above.filter(|dir| !dir.is_empty()) {
        // What a walker leaves out with its directory must be hidden itself.
        if set.step(dir, EntryKind::Directory) == Step::Skip {
            assert!(found.is_some(), "{rules:?} skip {dir:?} above {path:?}");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let text = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let rules = rules(&text);
    let set = match IgnoreSet::parse(&text) {
        Ok(set) => set,
        Err(error) => {
            let line = error.line().expect("it comes from a file");
            assert!(rules.iter().any(|(number, _)| *number == line), "{error}");
            return;
        }
    };
    assert_eq!(set.is_empty(), rules.is_empty());
    for path in parts.map(String::from_utf8_lossy) {
        let path: Cow<str> = path;
        check_path(&set, &rules, path.strip_suffix('/').unwrap_or(&path));
    }
});
