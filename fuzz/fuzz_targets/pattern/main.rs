//! Single patterns, against a slow matcher that follows the rules letter by letter.
//!
//! The input is the pattern, and behind NUL characters the paths to ask about.

#![no_main]

mod slow;

use libfuzzer_sys::fuzz_target;
use rbuild_pattern::{Glob, IncludeSet};

/// The slow matcher's time grows with the square of these.
const LONGEST: usize = 200;

/// The directories above a path, outermost first, beginning with the root.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    std::iter::once(&path[..0]).chain(slashes.map(|(at, _)| &path[..at]))
}

fn check_glob(text: &str, paths: &[&[u8]]) {
    let tokens = slow::glob(text);
    let found = Glob::new(text);
    assert_eq!(found.is_ok(), tokens.is_some(), "{text:?}: {found:?}");
    let (Ok(glob), Some(tokens)) = (found, tokens) else {
        return;
    };
    let (plain, rest) = Glob::split_prefix(text);
    assert!(!Glob::has_meta(plain));
    assert_eq!(Glob::has_meta(text), !rest.is_empty(), "{text:?}");
    for path in paths {
        let matches = glob.matches(*path);
        assert_eq!(matches, slow::matches(&tokens, path), "{text:?} {path:?}");
        for dir in above(path).filter(|_| matches) {
            assert!(glob.could_match_below(dir), "{text:?} {path:?} {dir:?}");
        }
    }
}

fn check_ignore(text: &str, paths: &[&[u8]]) {
    // Neither an exception nor blanks that are not part of the pattern.
    if text.starts_with('!') || text.trim() != text || text.is_empty() {
        return;
    }
    let rule = slow::ignore(text);
    let found = IncludeSet::new([text]);
    assert_eq!(found.is_ok(), rule.is_some(), "{text:?}: {found:?}");
    let (Ok(set), Some(rule)) = (found, rule) else {
        return;
    };
    // Of `/ /` nothing is left.
    if set.is_empty() {
        return;
    }
    for path in paths.iter().filter(|path| !path.ends_with(b"/")) {
        let matches = set.matches(*path);
        assert_eq!(matches, rule.matches(path), "{text:?} {path:?}");
        for dir in above(path).filter(|_| matches) {
            assert!(set.could_match_below(dir), "{text:?} {path:?} {dir:?}");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    let Some((text, paths)) = parts.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    if parts.iter().any(|part| part.len() > LONGEST) {
        return;
    }
    check_glob(&text, paths);
    check_ignore(&text, paths);
});
