//! Differences that stay, each with its reason.

use serde_json::Value;

use super::Subject;

/// Returns why two answers differ, if they may.
pub fn reason(
    subject: Subject,
    question: &Value,
    want: &Value,
    got: &Value,
) -> Option<&'static str> {
    match subject {
        Subject::Parse => parse(want, got),
        Subject::Word => word(question, want, got),
        Subject::Ignore => {
            let text = question["ignore"].as_str().unwrap_or_default();
            broken(want, got).or_else(|| quirk(text))
        }
        Subject::Glob => broken(want, got).or_else(|| greedy(question)),
    }
}

fn parse(want: &Value, got: &Value) -> Option<&'static str> {
    if flags_spoilt(want, got) {
        return Some("BuildKit reads flags byte by byte and spoils what is not ASCII");
    }
    if health_type(want, got) {
        return Some("BuildKit splits HEALTHCHECK's type from the rest in the middle of a blank");
    }
    if want.to_string().contains("\u{fffd}") && without_comments(want) == without_comments(got) {
        return Some("BuildKit cuts a comment behind its first byte, be that a part of a blank");
    }
    let message = |answer: &Value| -> Option<String> {
        let message = answer["instructions_error"]["message"].as_str()?;
        let (message, _) = message.split_once(" (did you mean ")?;
        Some(message.to_owned())
    };
    if want["nodes"] == got["nodes"] && message(want).is_some() && message(want) == message(got) {
        return Some("of several names equally near, BuildKit suggests a random one");
    }
    None
}

/// In `${a//b/c}` BuildKit hands `c` to Go as a template for groups that the pattern does not have.
fn word(question: &Value, want: &Value, got: &Value) -> Option<&'static str> {
    let text = question["word"].as_str()?;
    let (_, behind) = text.split_once("//")?;
    let both = want.get("result").is_some() && got.get("result").is_some();
    (both && behind.contains('$'))
        .then_some("in a replacement of all matches BuildKit loses `$name` that stays unexpanded")
}

/// Whether all lines that differ have flags, and more in them than ASCII.
fn flags_spoilt(want: &Value, got: &Value) -> bool {
    let (Some(theirs), Some(ours)) = (want["nodes"].as_array(), got["nodes"].as_array()) else {
        return false;
    };
    let mut unequal = theirs.iter().zip(ours).filter(|(a, b)| a != b).peekable();
    let spoilt = |node: &Value| {
        let line = node["original"].as_str().unwrap_or_default();
        line.contains("--") && !line.is_ascii()
    };
    if unequal.peek().is_none() {
        // An unknown instruction behind ONBUILD shows its flags in the dump alone.
        return want["dump"] != got["dump"] && theirs.iter().any(spoilt);
    }
    unequal.all(|(a, b)| a["original"] == b["original"] && spoilt(a))
}

/// Whether the only lines that differ are HEALTHCHECKs with more than ASCII in them.
fn health_type(want: &Value, got: &Value) -> bool {
    let (Some(theirs), Some(ours)) = (want["nodes"].as_array(), got["nodes"].as_array()) else {
        return false;
    };
    let mut unequal = theirs.iter().zip(ours).filter(|(a, b)| a != b).peekable();
    unequal.peek().is_some()
        && unequal.all(|(a, b)| {
            let line = a["original"].as_str().unwrap_or_default();
            let health = line.to_ascii_uppercase().contains("HEALTHCHECK");
            a["original"] == b["original"] && health && !line.is_ascii()
        })
}

fn without_comments(answer: &Value) -> Value {
    let mut answer = answer.clone();
    for node in answer["nodes"].as_array_mut().into_iter().flatten() {
        node["comments"].take();
    }
    answer
}

/// A broken pattern is refused when it is read; BuildKit finds out when a path gets that far.
fn broken(want: &Value, got: &Value) -> Option<&'static str> {
    let refusal = got["error"].as_str()?;
    let refused = refusal.starts_with("syntax error in pattern");
    // Globs may have such ranges, so that to Go the pattern is well formed.
    let malformed = want["broken"] == true || refusal.ends_with("a range that runs backwards");
    (refused && malformed)
        .then_some("a broken pattern is refused at once, BuildKit refuses it where a path needs it")
}

/// Go tries only the shortest run for a star, which is wrong where a class behind it takes a slash.
fn greedy(question: &Value) -> Option<&'static str> {
    let text = question["glob"].as_str()?;
    let (_, behind) = text.split_once('*')?;
    behind
        .contains('[')
        .then_some("in Go's matching a class behind `*` takes the first slash it can")
}

/// What of an ignore pattern BuildKit hands to its regular expressions as it stands.
fn quirk(text: &str) -> Option<&'static str> {
    let chars: Vec<char> = text.chars().collect();
    let plain = |ch: char| ch.is_alphanumeric() || !ch.is_ascii() || ch.is_whitespace();
    let pairs = || chars.windows(2);
    if pairs().any(|two| two[0] == '\\' && plain(two[1])) {
        return Some("in BuildKit an escaped letter is one of a regular expression (`\\d`, `\\a`)");
    }
    if text.chars().skip(1).any(|ch| ch == '\u{feff}') {
        return Some("BuildKit drops a byte order mark in front of any pattern with wildcards");
    }
    // A mark that begins a class is meant; any other is an anchor there.
    let anchor = |at: usize| chars[at] == '^' && (at == 0 || !matches!(chars[at - 1], '[' | '\\'));
    if (0..chars.len()).any(anchor) {
        return Some("in BuildKit a `^` outside a class is the anchor of a regular expression");
    }
    // Its list of characters to escape is a byte too short for these three.
    if text.contains(['|', '{', '}']) && text.contains(['*', '?', '[', ']', '\\']) {
        return Some("in BuildKit `|`, `{` and `}` beside a wildcard are a regular expression");
    }
    let named =
        |line: &str| !line.starts_with('!') && line.contains(['/', '.']) && line.contains('!');
    if text.lines().any(named) {
        return Some(
            "BuildKit cleans the path in front of a `!` away and takes it for an exception",
        );
    }
    let mut inside = false;
    for (at, ch) in chars.iter().enumerate() {
        match ch {
            '*' | '?' | '[' if inside => {
                return Some("in BuildKit `*`, `?` and `[` in a class become a regular expression");
            }
            '[' if at == 0 || chars[at - 1] != '\\' => inside = true,
            ']' | '\n' => inside = false,
            _ => {}
        }
    }
    None
}
