//! One pattern of the ignore language: compile and match.

use crate::class::{Class, LONE_ESCAPE, Reason};
use crate::glob::with_slash;
use crate::program::{Program, Token};

/// A compiled pattern, in the cheapest form that decides it.
///
/// The three plain forms are not only faster. They are observable: a pattern that is `**` followed
/// by ordinary text is a plain suffix, so `**file` matches `myfile`, while `**file*` does not
/// match `myfile.txt`. BuildKit decides the same way, and contexts must not differ from its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Ordinary text.
    Exact(String),
    /// Ordinary text, then `**`.
    Prefix(String),
    /// `**`, then ordinary text.
    Suffix(String),
    /// Everything else.
    General(Program),
}

impl Pattern {
    /// Compiles a cleaned pattern without `!`.
    ///
    /// `*` is any run and `?` any character, both without a slash; `[..]` is a class; `\` makes the
    /// next character ordinary. `**` at the end is anything; elsewhere it is any number of whole
    /// directories, and swallows the slash behind it.
    ///
    /// Grammar: dockerignore.ebnf#pattern
    pub(crate) fn compile(text: &str) -> Result<Self, Reason> {
        if let Some(plain) = plain(text) {
            return Ok(plain);
        }
        let mut rest = text.chars();
        let mut tokens = Vec::new();
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '*' if rest.as_str().starts_with('*') => {
                    rest.next();
                    tokens.extend(any_directories(&mut rest));
                    continue;
                }
                '*' => Token::Star,
                '?' => Token::One,
                '[' => Token::Class(class(&mut rest)?),
                '\\' => Token::Char(rest.next().ok_or(LONE_ESCAPE)?),
                c => Token::Char(c),
            });
        }
        Ok(Self::General(Program::new(tokens)))
    }

    /// Whether the pattern matches the path or one of the directories above it.
    pub(crate) fn matches_or_ancestor(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(text) => {
                let rest = path.strip_prefix(text.as_bytes());
                rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
            }
            Self::Prefix(text) => path.starts_with(text.as_bytes()),
            Self::Suffix(text) => boundaries(path).any(|part| has_suffix(part, text.as_bytes())),
            Self::General(program) => program.matches_or_ancestor(path),
        }
    }

    /// Whether the pattern could match something below `dir`; may err on the side of yes.
    pub(crate) fn could_match_below(&self, dir: &[u8]) -> bool {
        let prefix = with_slash(dir);
        match self {
            Self::Exact(text) => text.as_bytes().starts_with(&prefix),
            Self::Prefix(text) => {
                let text = text.as_bytes();
                text.starts_with(&prefix) || prefix.starts_with(text)
            }
            Self::Suffix(_) => true,
            Self::General(program) => program.could_match_from(&prefix),
        }
    }
}

/// The plain forms: no wildcard but one `**` at an end.
fn plain(text: &str) -> Option<Pattern> {
    let is_plain = |text: &str| !text.contains(['*', '?', '[', ']', '\\']);
    if is_plain(text) {
        return Some(Pattern::Exact(text.to_owned()));
    }
    if let Some(suffix) = text.strip_prefix("**").filter(|rest| is_plain(rest)) {
        return Some(Pattern::Suffix(suffix.to_owned()));
    }
    let prefix = text.strip_suffix("**").filter(|rest| is_plain(rest))?;
    Some(Pattern::Prefix(prefix.to_owned()))
}

/// What `**` means, given what follows it.
///
/// Grammar: dockerignore.ebnf#any-directories
fn any_directories(rest: &mut std::str::Chars<'_>) -> Vec<Token> {
    if rest.as_str().starts_with('/') {
        rest.next();
    }
    match rest.as_str() {
        "" => vec![Token::Rest],
        _ => vec![Token::OptionalDirs, Token::Dirs],
    }
}

fn class(rest: &mut std::str::Chars<'_>) -> Result<Class, Reason> {
    let class = Class::parse(rest)?;
    match class.has_reversed_range() {
        true => Err("a character class has a range that runs backwards"),
        false => Ok(class),
    }
}

/// The path's ancestors, outermost first, then the path.
fn boundaries(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at);
    slashes.chain([path.len()]).map(move |end| &path[..end])
}

/// `**/x` also matches a plain `x`.
fn has_suffix(path: &[u8], suffix: &[u8]) -> bool {
    path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
}
