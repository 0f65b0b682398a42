//! `.dockerignore` files.

use crate::Result;
use crate::rules::Rules;

/// A compiled ignore file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreSet {
    rules: Rules,
}

/// Whether a path is part of the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The path is part of the context.
    Included,
    /// The path is hidden, and this rule hides it.
    Excluded {
        /// Position among the rules, from 0.
        index: usize,
        /// Line in the file (position in the list for sets made from one), from 1.
        line: u32,
        /// The rule as written, without blanks around it.
        text: &'a str,
    },
}

impl Verdict<'_> {
    /// Whether the path is hidden.
    pub fn is_excluded(&self) -> bool {
        matches!(self, Self::Excluded { .. })
    }
}

impl IgnoreSet {
    /// Reads an ignore file.
    ///
    /// A byte order mark is dropped; lines whose first byte is `#` are comments; blanks around a
    /// line and behind `!` do not count; paths are cleaned and one leading slash is dropped.
    ///
    /// Errors: the first bad line, as [`crate::Error`] with its number.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self {
            rules: Rules::from_file(text)?,
        })
    }

    /// Compiles patterns that do not come from a file: no comments, no byte order mark.
    pub fn from_patterns<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self> {
        Ok(Self {
            rules: Rules::from_list(patterns)?,
        })
    }

    /// Decides a path.
    ///
    /// Rules are gone through in order: a pattern that matches the path or any directory above it
    /// hides it, an exception that does brings it back; the last effective one wins.
    pub fn verdict(&self, path: &(impl AsRef<[u8]> + ?Sized)) -> Verdict<'_> {
        match self.rules.deciding(path.as_ref()) {
            None => Verdict::Included,
            Some((index, rule)) => Verdict::Excluded {
                index,
                line: rule.line,
                text: &rule.text,
            },
        }
    }

    /// Whether anything below the directory can be part of the context; may err on the side of yes.
    pub fn could_include_below(&self, dir: &(impl AsRef<[u8]> + ?Sized)) -> bool {
        match self.rules.deciding(dir.as_ref()) {
            None => true,
            Some((index, _)) => self.rules.could_except_below(dir.as_ref(), index),
        }
    }

    /// Whether there are no rules at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any rule is an exception (`!`).
    pub fn has_exceptions(&self) -> bool {
        self.rules.has_exceptions()
    }
}

#[cfg(test)]
mod tests;
