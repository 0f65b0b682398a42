//! An ordered list of patterns and exceptions, of which the last that applies decides.

use crate::clean::clean;
use crate::pattern::Pattern;
use crate::{Error, Result};

/// Whether a rule takes paths in or lets them out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Match,
    Except,
}

/// One line of an ignore file or item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    effect: Effect,
    pattern: Pattern,
    /// Line in the file, or position in the list, from 1.
    pub(crate) line: u32,
    /// As written, without blanks around it.
    pub(crate) text: String,
}

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
}

impl Rules {
    /// Reads the lines of an ignore file.
    ///
    /// Grammar: dockerignore.ebnf#file
    pub(crate) fn from_file(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (number, line) in (1..).zip(text.split('\n')) {
            if let Some(written) = content(line) {
                rules.extend(rule(written, number, Some(number))?);
            }
        }
        Ok(Self { rules })
    }

    /// Reads the items of a list. Here `#` begins a pattern like any other.
    pub(crate) fn from_list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut rules = Vec::new();
        for (position, item) in (1..).zip(items) {
            let written = item.as_ref().trim();
            if !written.is_empty() {
                rules.extend(rule(written, position, None)?);
            }
        }
        Ok(Self { rules })
    }

    /// The rule that makes the path match, with its index; `None` if it does not match.
    pub(crate) fn deciding(&self, path: &[u8]) -> Option<(usize, &Rule)> {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let mut decided = None;
        for (index, rule) in self.rules.iter().enumerate() {
            // A rule that would change nothing need not be tried.
            match (rule.effect, decided) {
                (Effect::Match, None) if rule.pattern.matches_or_ancestor(path) => {
                    decided = Some((index, rule));
                }
                (Effect::Except, Some(_)) if rule.pattern.matches_or_ancestor(path) => {
                    decided = None;
                }
                _ => {}
            }
        }
        decided
    }

    /// Whether an exception could apply below a directory that matches.
    ///
    /// The rule that takes the directory in takes in all below it too, so only later exceptions count.
    pub(crate) fn could_except_below(&self, dir: &[u8], deciding: usize) -> bool {
        let later = self.rules.iter().skip(deciding + 1);
        later
            .filter(|rule| rule.effect == Effect::Except)
            .any(|rule| rule.pattern.could_match_below(dir))
    }

    /// Whether a pattern could apply below a directory that does not match.
    pub(crate) fn could_match_below(&self, dir: &[u8]) -> bool {
        self.rules
            .iter()
            .filter(|rule| rule.effect == Effect::Match)
            .any(|rule| rule.pattern.could_match_below(dir))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(crate) fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.effect == Effect::Except)
    }
}

/// What a line holds, unless it is blank or a comment. Only an unindented `#` makes a comment.
///
/// Grammar: dockerignore.ebnf#line
fn content(line: &str) -> Option<&str> {
    let written = line.trim();
    (!line.starts_with('#') && !written.is_empty()).then_some(written)
}

/// Reads a pattern with or without `!`; `None` if nothing is left of it.
///
/// Grammar: dockerignore.ebnf#exclusion
fn rule(written: &str, number: u32, line: Option<u32>) -> Result<Option<Rule>> {
    let (effect, pattern) = match written.strip_prefix('!') {
        Some(rest) => (Effect::Except, rest.trim()),
        None => (Effect::Match, written),
    };
    if pattern.is_empty() {
        return Err(Error::EmptyException { line });
    }
    let Some(relative) = relative(effect, pattern) else {
        return match effect {
            Effect::Match => Ok(None),
            Effect::Except => Err(Error::EmptyException { line }),
        };
    };
    let pattern = Pattern::compile(&relative).map_err(|reason| Error::Syntax {
        text: written.to_owned(),
        reason,
        line,
    })?;
    Ok(Some(Rule {
        effect,
        pattern,
        line: number,
        text: written.to_owned(),
    }))
}

/// The path that a pattern means, from the root of the context; `None` if that is nothing.
///
/// As in BuildKit, blanks that cleaning lays bare at the ends are dropped too (`/ a`, `a /`), but not
/// those behind `!`; and `!/`, cleaned with its mark, is nothing.
fn relative(effect: Effect, pattern: &str) -> Option<String> {
    let cleaned = clean(pattern);
    let bare = cleaned
        .strip_prefix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(&cleaned);
    let trimmed = match effect {
        Effect::Match => bare.trim(),
        Effect::Except => bare.trim_end(),
    };
    let nothing = trimmed.is_empty() || (effect == Effect::Except && trimmed == "/");
    (!nothing).then(|| clean(trimmed))
}
