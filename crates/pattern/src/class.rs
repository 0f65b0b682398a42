//! Character classes: `[abc]`, `[a-z]`, `[^x]`.

use std::str::Chars;

/// Says what is wrong with a pattern; the caller knows which one it is.
pub(crate) type Reason = &'static str;

/// The text after a `\` is missing.
pub(crate) const LONE_ESCAPE: Reason = "a backslash at the end escapes nothing";
const UNCLOSED: Reason = "a character class is not closed";
const BAD_RANGE: Reason = "a character class has a range without two ends";
const EMPTY: Reason = "a character class is empty";

/// A set of characters, as inclusive ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    /// Reads a class up to and with its `]`; `rest` begins after the `[`.
    ///
    /// The rules are those of Go's `filepath.Match`: `^` negates, `\` escapes, and neither `-` nor
    /// `]` may stand for itself without one.
    ///
    /// Grammar: dockerignore.ebnf#class
    pub(crate) fn parse(rest: &mut Chars<'_>) -> Result<Self, Reason> {
        let negated = rest.as_str().starts_with('^');
        if negated {
            rest.next();
        }
        let mut ranges = Vec::new();
        while !rest.as_str().starts_with(']') {
            let low = end_of_range(rest)?;
            let mut high = low;
            if rest.as_str().starts_with('-') {
                rest.next();
                high = end_of_range(rest)?;
            }
            ranges.push((low, high));
        }
        rest.next();
        if ranges.is_empty() {
            return Err(EMPTY);
        }
        Ok(Self { negated, ranges })
    }

    /// Whether a range runs backwards; Go's globs accept that, ignore files do not.
    pub(crate) fn has_reversed_range(&self) -> bool {
        self.ranges.iter().any(|(low, high)| low > high)
    }

    /// Whether `c` is in the class. The slash is a character like others, as it is in Go.
    pub(crate) fn contains(&self, c: char) -> bool {
        self.ranges.iter().any(|&(low, high)| low <= c && c <= high) != self.negated
    }
}

/// One character of a class, escaped or not.
///
/// Grammar: dockerignore.ebnf#class-char
fn end_of_range(rest: &mut Chars<'_>) -> Result<char, Reason> {
    match rest.next() {
        None => Err(UNCLOSED),
        Some('-' | ']') => Err(BAD_RANGE),
        Some('\\') => rest.next().ok_or(UNCLOSED),
        Some(c) => Ok(c),
    }
}
