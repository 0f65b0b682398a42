//! Rust files as the checks see them: the text, and the text with comments and strings blanked.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_testkit::repository_root;

/// One source file of the repository.
pub struct SourceFile {
    /// Path from the top folder, with `/`.
    pub path: String,
    /// The text as it stands.
    pub text: String,
    /// The text with comments, strings and character literals replaced by blanks; newlines are kept.
    pub code: String,
    /// `code` without `#[cfg(test)] mod … { … }` blocks.
    pub production: String,
}

impl SourceFile {
    /// Whether the whole file is test code.
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("tests.rs")
            || self.path.starts_with("crates/testkit/")
            || self.path.starts_with("fuzz/")
    }

    /// Whether the file belongs to a program of ours rather than to a library.
    pub fn is_program(&self) -> bool {
        ["crates/cli/", "xtask/", "benches/"]
            .iter()
            .any(|top| self.path.starts_with(top))
            || self.path.contains("/examples/")
            || self.path.contains("/benches/")
    }

    /// Returns the 1-based line of a byte offset.
    pub fn line_of(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    /// Returns `path:line` of each place where `word` stands in `within` as a whole word.
    pub fn places(&self, within: &str, word: &str) -> Vec<String> {
        word_offsets(within, word)
            .map(|at| format!("{}:{}", self.path, self.line_of(at)))
            .collect()
    }
}

/// Returns where `word` stands, not as part of a longer identifier.
pub fn word_offsets<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = text[..at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            let starts_open = !word.starts_with(part) || !before.is_some_and(part);
            let ends_open = !word.ends_with(part) || !after.is_some_and(part);
            starts_open && ends_open
        })
}

/// Reads all Rust files of the repository, sorted by path.
pub fn sources() -> Vec<SourceFile> {
    let mut paths = Vec::new();
    for top in ["crates", "xtask", "benches", "fuzz"] {
        collect(&repository_root().join(top), &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            collect(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}

fn read(path: &Path) -> SourceFile {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("read {path:?}: {error}"));
    let relative = path
        .strip_prefix(repository_root())
        .expect("it lies below the top");
    let code = blank(&text);
    let production = without_tests(&code);
    SourceFile {
        path: relative.to_string_lossy().into_owned(),
        text,
        code,
        production,
    }
}

/// Replaces comments, strings and character literals by blanks of equal length.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end > at {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            at = end;
        } else {
            at += 1;
        }
    }
    String::from_utf8(out).expect("only whole literals are blanked")
}

/// Returns the end of the comment or literal that begins at `at`; `at` itself if none does.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let inside_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => rest
            .iter()
            .position(|b| *b == b'\n')
            .map_or(bytes.len(), |n| at + n),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + string(rest),
        [b'b' | b'c', b'"', ..] if !inside_word => at + 1 + string(&rest[1..]),
        [b'r', b'"' | b'#', ..] if !inside_word => at + raw_string(&rest[1..]).map_or(0, |n| n + 1),
        [b'b', b'r', b'"' | b'#', ..] if !inside_word => {
            at + raw_string(&rest[2..]).map_or(0, |n| n + 2)
        }
        [b'\'', ..] => at + character(rest),
        _ => at,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None; // a raw identifier
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let body = hashes + 1;
    rest[body..]
        .windows(close.len())
        .position(|window| window == close)
        .map(|n| body + n + close.len())
}

/// A quote begins a character literal if one closes it right after, else a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return rest[3..]
            .iter()
            .position(|b| *b == b'\'')
            .map_or(0, |n| n + 4);
    }
    let width = match rest.get(1) {
        Some(byte) if *byte < 0x80 => 1,
        Some(byte) if *byte >= 0xf0 => 4,
        Some(byte) if *byte >= 0xe0 => 3,
        _ => 2,
    };
    if rest.get(1 + width) == Some(&b'\'') {
        width + 2
    } else {
        0
    }
}

fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(found) = out[from..].find("#[cfg(test)]") {
        let start = from + found;
        let after = out[start..]
            .find(['{', ';'])
            .map_or(out.len(), |n| start + n);
        let is_module = word_offsets(&out[start..after], "mod").next().is_some();
        let end = if is_module && out[after..].starts_with('{') {
            closing_brace(&out, after)
        } else {
            after.min(out.len() - 1)
        };
        let blanked: String = out[start..=end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        out.replace_range(start..=end, &blanked);
        from = start + blanked.len();
    }
    out
}

/// Returns the offset of the brace that closes the one at `open`.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at;
        }
    }
    code.len() - 1
}

#[test]
fn blanking_keeps_lengths_and_newlines() {
    let text = "let a = \"x//\\\"y\"; // c\nlet b = r#\"{\"#; let c = '{'; fn f<'a>(x: &'a u8) {}\n/* {\n */ b'\\n'";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains("//") && !code.contains("'{'"), "{code}");
    assert!(code.contains("fn f<'a>(x: &'a u8) {}"), "{code}");
    assert_eq!(code.matches('\n').count(), 3);
}

#[test]
fn test_modules_are_not_production_code() {
    let code = without_tests("fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}\n");
    assert!(
        code.contains("fn a") && code.contains("fn c") && !code.contains("fn b"),
        "{code}"
    );
}
