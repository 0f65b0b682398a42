//! The same patterns the slow way: a list of choices, tried one after the other.
//!
//! Nothing here comes from the crate: characters are compared by trying every split of the path,
//! with the answers remembered so that it ends.

use std::collections::HashMap;

/// What may stand at one place.
pub enum Token {
    /// One character that the function accepts; `None` is a byte that is not UTF-8.
    One(Box<dyn Fn(Option<char>) -> bool>),
    /// Any number of characters other than a slash.
    Run,
    /// Any number of characters.
    Anything,
    /// Nothing, or anything that ends in a slash.
    Directories,
}

/// One pattern of the ignore language.
pub enum Rule {
    /// This text, or below it.
    Exact(String),
    /// Whatever begins so.
    Prefix(String),
    /// Whatever ends so.
    Suffix(String),
    /// Anything else.
    Tokens(Vec<Token>),
}

impl Rule {
    /// Whether the pattern matches the path or one of the directories above it.
    pub fn matches(&self, path: &[u8]) -> bool {
        let ends = (0..=path.len()).filter(|&end| end == path.len() || path[end] == b'/');
        ends.map(|end| &path[..end]).any(|part| match self {
            Rule::Exact(text) => part == text.as_bytes(),
            Rule::Prefix(text) => part.starts_with(text.as_bytes()),
            Rule::Suffix(text) => {
                part.ends_with(text.as_bytes()) || [b"/", part].concat() == text.as_bytes()
            }
            Rule::Tokens(tokens) => matches(tokens, part),
        })
    }
}

/// Reads a COPY wildcard; `None` when it is broken.
pub fn glob(text: &str) -> Option<Vec<Token>> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut tokens) = (0, Vec::new());
    while at < chars.len() {
        match chars[at] {
            '*' => {
                tokens.push(Token::Run);
                at += 1;
            }
            _ => tokens.push(Token::One(single(&chars, &mut at, true)?)),
        }
    }
    Some(tokens)
}

/// Reads an ignore pattern; `None` when it is broken.
pub fn ignore(text: &str) -> Option<Rule> {
    let once = relative(text);
    let bare = once.strip_prefix('/').filter(|rest| !rest.is_empty());
    let text = relative(bare.unwrap_or(&once).trim());
    let plain = |text: &str| !text.chars().any(|ch| "*?[]\\".contains(ch));
    if plain(&text) {
        return Some(Rule::Exact(text));
    }
    if let Some(suffix) = text.strip_prefix("**").filter(|rest| plain(rest)) {
        return Some(Rule::Suffix(suffix.to_owned()));
    }
    if let Some(prefix) = text.strip_suffix("**").filter(|rest| plain(rest)) {
        return Some(Rule::Prefix(prefix.to_owned()));
    }
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut tokens) = (0, Vec::new());
    while at < chars.len() {
        if chars[at..].starts_with(&['*', '*']) {
            at += 2;
            at += usize::from(chars.get(at) == Some(&'/'));
            tokens.push(match at < chars.len() {
                true => Token::Directories,
                false => Token::Anything,
            });
        } else if chars[at] == '*' {
            at += 1;
            tokens.push(Token::Run);
        } else {
            tokens.push(Token::One(single(&chars, &mut at, false)?));
        }
    }
    Some(Rule::Tokens(tokens))
}

/// The path without `.`, `..` and doubled slashes.
fn relative(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match (part, parts.last()) {
            ("..", Some(&last)) if last != ".." => drop(parts.pop()),
            ("..", None) if text.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    match (text.starts_with('/'), parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

type Accept = Box<dyn Fn(Option<char>) -> bool>;

/// Reads what stands for one character.
fn single(chars: &[char], at: &mut usize, backwards: bool) -> Option<Accept> {
    let mut next = || {
        *at += 1;
        chars.get(*at - 1).copied()
    };
    match next()? {
        '?' => Some(Box::new(|ch| ch != Some('/'))),
        '\\' => {
            let wanted = next()?;
            Some(Box::new(move |ch| ch == Some(wanted)))
        }
        '[' => {
            let end = class_end(&chars[*at..])? + *at;
            let accept = class(&chars[*at..end], backwards)?;
            *at = end + 1;
            Some(accept)
        }
        wanted => Some(Box::new(move |ch| ch == Some(wanted))),
    }
}

/// Where the `]` of a class is.
fn class_end(chars: &[char]) -> Option<usize> {
    let mut escaped = false;
    chars.iter().position(|&ch| {
        let end = ch == ']' && !escaped;
        escaped = ch == '\\' && !escaped;
        end
    })
}

/// Reads what stands between the brackets.
fn class(inside: &[char], backwards: bool) -> Option<Accept> {
    let (negated, inside) = match inside {
        ['^', rest @ ..] => (true, rest),
        _ => (false, inside),
    };
    // Pairs of whether it was escaped and the character.
    let mut units = Vec::new();
    let mut rest = inside.iter();
    while let Some(&ch) = rest.next() {
        units.push(match ch {
            '\\' => (true, *rest.next()?),
            _ => (false, ch),
        });
    }
    let dash = (false, '-');
    let (mut ranges, mut units) = (Vec::new(), units.as_slice());
    while let [low, others @ ..] = units {
        let (high, others) = match others {
            [mark, high, others @ ..] if *mark == dash => (high, others),
            [mark] if *mark == dash => return None,
            _ => (low, others),
        };
        if *low == dash || *high == dash || (high.1 < low.1 && !backwards) {
            return None;
        }
        ranges.push((low.1, high.1));
        units = others;
    }
    if ranges.is_empty() {
        return None;
    }
    Some(Box::new(move |ch| {
        let ch = ch.unwrap_or('\u{fffd}');
        ranges.iter().any(|(low, high)| *low <= ch && ch <= *high) != negated
    }))
}

/// Whether the tokens match the whole path.
pub fn matches(tokens: &[Token], path: &[u8]) -> bool {
    let mut chars = Vec::new();
    for chunk in path.utf8_chunks() {
        chars.extend(chunk.valid().chars().map(Some));
        chars.extend(chunk.invalid().iter().map(|_| None));
    }
    attempt(tokens, &chars, &mut HashMap::new())
}

type Known = HashMap<(usize, usize), bool>;

fn attempt(tokens: &[Token], chars: &[Option<char>], known: &mut Known) -> bool {
    let key = (tokens.len(), chars.len());
    if let Some(answer) = known.get(&key) {
        return *answer;
    }
    let Some((first, others)) = tokens.split_first() else {
        return chars.is_empty();
    };
    let mut after = |count: usize| attempt(others, &chars[count..], known);
    let answer = match first {
        Token::One(accept) => chars.first().is_some_and(|ch| accept(*ch)) && after(1),
        Token::Run => {
            let longest = chars.iter().take_while(|ch| **ch != Some('/')).count();
            (0..=longest).any(&mut after)
        }
        Token::Anything => (0..=chars.len()).any(&mut after),
        Token::Directories => {
            let ends = (1..=chars.len()).filter(|&end| chars[end - 1] == Some('/'));
            after(0) || ends.into_iter().any(&mut after)
        }
    };
    known.insert(key, answer);
    answer
}
