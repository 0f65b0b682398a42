//! The expansion of words: no panic, its limit holds, and what has no variable stays as it is.
//!
//! The input is a byte that chooses the mode, the word, and behind NUL characters the values of
//! variables; a name gets one of them, or none, by its letters.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_dockerfile::decode;
use rbuild_dockerfile::expand::{ExpandMode, MAX_EXPANSION_BYTES, expand};
use rbuild_dockerfile::heredoc::marks;

#[path = "../../crates/dockerfile/tests/it/invariants.rs"]
#[allow(dead_code, reason = "the file has more than one target's checks")]
mod invariants;

fn mode(bits: u8) -> ExpandMode {
    ExpandMode {
        raw_quotes: bits & 1 != 0,
        raw_escapes: bits & 2 != 0,
        ignore_quotes: bits & 4 != 0,
        skip_unset: bits & 8 != 0,
    }
}

fn check_expansion(word: &str, values: &[&str], escape: char, mode: ExpandMode) {
    let env = |name: &str| {
        let letters: usize = name.bytes().map(usize::from).sum();
        let value = values.get(letters % (values.len() + 1))?;
        Some((*value).to_owned())
    };
    match expand(word, escape, &env, mode) {
        Ok(done) => {
            assert!(done.text.len() <= word.len().max(MAX_EXPANSION_BYTES));
            let letters: usize = done.words.iter().map(String::len).sum();
            assert!(letters <= done.text.len(), "{word:?} grew by splitting");
            assert!(done.words.iter().all(|word| !word.is_empty()));
            assert!(done.matched.is_disjoint(&done.unmatched));
        }
        // The text quotes the word, whatever is in it.
        Err(error) => assert!(error.to_string().starts_with("failed to process \"")),
    }
}

/// With nothing set and everything kept, a word without operators stands for itself.
fn check_identity(word: &str, escape: char) {
    let keep = ExpandMode {
        raw_quotes: true,
        raw_escapes: true,
        skip_unset: true,
        ignore_quotes: false,
    };
    // Operators are written anew, and between double quotes BuildKit doubles an escape that it keeps.
    if word.contains("${") || (word.contains('"') && word.contains(escape)) {
        return;
    }
    let kept = word.strip_prefix('\u{feff}').unwrap_or(word);
    if let Ok(done) = expand(word, escape, &|_| None, keep) {
        assert_eq!(done.text, kept);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((bits, rest)) = bytes.split_first() else {
        return;
    };
    let text = decode(rest);
    let mut parts = text.split('\0');
    let word = parts.next().unwrap_or_default();
    let values: Vec<&str> = parts.collect();
    let escape = if bits & 16 != 0 { '`' } else { '\\' };
    invariants::check_pieces(word, escape);
    check_expansion(word, &values, escape, mode(*bits));
    check_identity(word, escape);
    drop(marks(word));
});
