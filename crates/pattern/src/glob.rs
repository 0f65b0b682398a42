//! COPY and ADD wildcards: Go's `filepath.Match` over whole paths.

use crate::class::{Class, LONE_ESCAPE, Reason};
use crate::program::{Program, Token};
use crate::{Error, Result};

/// A COPY or ADD source with wildcards.
///
/// `*` is any run and `?` any character, both without a slash; `[a-z]` and `[^a]` are classes (which
/// may match a slash, as in Go); `\` makes the next character ordinary. `**` is no more than `*`.
/// Names that begin with a dot are not special. Source: Go, package filepath, `Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    program: Program,
}

impl Glob {
    /// Compiles a pattern.
    ///
    /// Errors: [`Error::Syntax`] for a broken class or a `\` at the end.
    pub fn new(text: &str) -> Result<Self> {
        match compile(text) {
            Ok(tokens) => Ok(Self {
                program: Program::new(tokens),
            }),
            Err(reason) => Err(Error::Syntax {
                text: text.to_owned(),
                reason,
                line: None,
            }),
        }
    }

    /// Whether the whole path matches. Takes time proportional to pattern times path.
    pub fn matches(&self, path: &(impl AsRef<[u8]> + ?Sized)) -> bool {
        self.program.matches(path.as_ref())
    }

    /// Whether something below the directory could match; may err on the side of yes.
    pub fn could_match_below(&self, dir: &(impl AsRef<[u8]> + ?Sized)) -> bool {
        self.program.could_match_from(&with_slash(dir.as_ref()))
    }

    /// Whether the text holds a wildcard that is not escaped.
    pub fn has_meta(text: &str) -> bool {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => {
                    chars.next();
                }
                '*' | '?' | '[' => return true,
                _ => {}
            }
        }
        false
    }

    /// Splits before the first component that holds a wildcard.
    ///
    /// The first half is a plain path (empty, or without a slash at its end unless it is the root),
    /// the second the rest of the pattern (empty when there is no wildcard).
    pub fn split_prefix(text: &str) -> (&str, &str) {
        let mut start = 0;
        for component in text.split('/') {
            if Self::has_meta(component) {
                let prefix = &text[..start];
                let plain = prefix
                    .strip_suffix('/')
                    .filter(|p| !p.is_empty())
                    .unwrap_or(prefix);
                return (plain, &text[start..]);
            }
            start += component.len() + 1;
        }
        (text, "")
    }
}

/// The directory as a prefix of what is below it; the root is the empty prefix.
pub(crate) fn with_slash(dir: &[u8]) -> Vec<u8> {
    let mut prefix = dir.strip_suffix(b"/").unwrap_or(dir).to_vec();
    if !prefix.is_empty() {
        prefix.push(b'/');
    }
    prefix
}

fn compile(text: &str) -> Result<Vec<Token>, Reason> {
    let mut rest = text.chars();
    let mut tokens = Vec::new();
    while let Some(c) = rest.next() {
        tokens.push(match c {
            '*' if tokens.last() == Some(&Token::Star) => continue,
            '*' => Token::Star,
            '?' => Token::One,
            '[' => Token::Class(Class::parse(&mut rest)?),
            '\\' => Token::Char(rest.next().ok_or(LONE_ESCAPE)?),
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;
