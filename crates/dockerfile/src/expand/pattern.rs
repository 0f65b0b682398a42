//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and literal text.
//!
//! As in BuildKit, `*` and `?` do not match a newline and brackets are literal. Matching needs no
//! backtracking, since literal parts between stars can be placed as early as possible; the work
//! is counted all the same, because a hostile value could be long and a pattern too.

use std::cell::Cell;

use super::ExpandCause;

/// Comparisons allowed for one use of a pattern.
const MAX_STEPS: u64 = 1 << 26;

/// One position of a literal part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// `?`.
    Any,
    /// A character.
    Char(char),
}

/// Which of several matches counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preference {
    Shortest,
    Longest,
}

/// A compiled pattern: literal parts with a `*` between each two.
#[derive(Debug)]
pub(super) struct Pattern {
    parts: Vec<Vec<Token>>,
    preference: Preference,
    steps: Cell<u64>,
}

impl Pattern {
    /// Compiles the operand of `#` or `##`.
    pub(super) fn for_prefix(operand: &str) -> Result<Pattern, ExpandCause> {
        let (pattern, preference) = strip_doubled(operand, '#');
        Pattern::compile(pattern, preference)
    }

    /// Compiles the operand of `%` or `%%`, reversed.
    pub(super) fn for_suffix(operand: &str) -> Result<Pattern, ExpandCause> {
        let (pattern, preference) = strip_doubled(operand, '%');
        Pattern::compile(&reversed(pattern), preference)
    }

    /// Compiles the pattern of `/` or `//`.
    pub(super) fn to_replace(operand: &str) -> Result<Pattern, ExpandCause> {
        Pattern::compile(operand, Preference::Longest)
    }

    fn compile(pattern: &str, preference: Preference) -> Result<Pattern, ExpandCause> {
        let mut parts = vec![Vec::new()];
        // BuildKit's scanner drops a byte order mark in front of anything it reads.
        let unmarked = pattern.strip_prefix('\u{feff}').unwrap_or(pattern);
        let mut chars = unmarked.chars().peekable();
        while let Some(ch) = chars.next() {
            let token = match ch {
                '*' => {
                    parts.push(Vec::new());
                    continue;
                }
                '?' => Token::Any,
                // Those two must be escaped to get into `${}` at all.
                '\\' if matches!(chars.peek(), Some('}' | '/')) => continue,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\')) => Token::Char(escaped),
                    other => {
                        return Err(ExpandCause::Pattern {
                            pattern: pattern.to_owned(),
                            escaped: other.unwrap_or('\u{fffd}'),
                        });
                    }
                },
                _ => Token::Char(ch),
            };
            if let Some(part) = parts.last_mut() {
                part.push(token);
            }
        }
        let steps = Cell::new(0);
        Ok(Pattern {
            parts,
            preference,
            steps,
        })
    }

    /// Removes the matching start of `value`.
    pub(super) fn trim_prefix(&self, value: &str) -> Result<String, ExpandCause> {
        let chars: Vec<char> = value.chars().collect();
        let end = self.match_at(&chars, 0)?.unwrap_or(0);
        Ok(chars[end..].iter().collect())
    }

    /// Removes the matching end of `value`; for a pattern made by [`Pattern::for_suffix`].
    pub(super) fn trim_suffix(&self, value: &str) -> Result<String, ExpandCause> {
        let chars: Vec<char> = value.chars().rev().collect();
        let end = self.match_at(&chars, 0)?.unwrap_or(0);
        Ok(chars[end..].iter().rev().collect())
    }

    /// Replaces the first match in `value`.
    pub(super) fn replace_first(
        &self,
        value: &str,
        replacement: &str,
    ) -> Result<String, ExpandCause> {
        let chars: Vec<char> = value.chars().collect();
        let Some((start, end)) = self.find(&chars, 0)? else {
            return Ok(value.to_owned());
        };
        let mut out: String = chars[..start].iter().collect();
        out.push_str(replacement);
        out.extend(&chars[end..]);
        Ok(out)
    }

    /// Replaces every match in `value`; an empty match right behind another one does not count.
    pub(super) fn replace_all(
        &self,
        value: &str,
        replacement: &str,
    ) -> Result<String, ExpandCause> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::new();
        let (mut from, mut copied) = (0, 0);
        while from <= chars.len() {
            let Some((start, end)) = self.find(&chars, from)? else {
                break;
            };
            out.extend(&chars[copied..start]);
            if end > copied || start == 0 {
                out.push_str(replacement);
            }
            if out.len() > super::MAX_EXPANSION_BYTES {
                return Err(ExpandCause::TooLarge);
            }
            copied = end;
            from = if from < end { end } else { from + 1 };
        }
        out.extend(&chars[copied..]);
        Ok(out)
    }

    /// Returns the leftmost match at or after `from`.
    fn find(&self, text: &[char], from: usize) -> Result<Option<(usize, usize)>, ExpandCause> {
        for start in from..=text.len() {
            if let Some(end) = self.match_at(text, start)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    /// Returns where the match that begins at `start` ends.
    fn match_at(&self, text: &[char], start: usize) -> Result<Option<usize>, ExpandCause> {
        let Some((first, others)) = self.parts.split_first() else {
            return Ok(Some(start));
        };
        if !self.part_at(first, text, start)? {
            return Ok(None);
        }
        let mut at = start + first.len();
        for (ix, part) in others.iter().enumerate() {
            let last = ix + 1 == others.len();
            let preference = match last {
                true => self.preference,
                false => Preference::Shortest,
            };
            match self.after_star(part, text, at, preference)? {
                Some(found) => at = found + part.len(),
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Returns where `part` matches after a star that begins at `from`.
    fn after_star(
        &self,
        part: &[Token],
        text: &[char],
        from: usize,
        preference: Preference,
    ) -> Result<Option<usize>, ExpandCause> {
        let mut best = None;
        for at in from..=text.len() {
            if self.part_at(part, text, at)? {
                best = Some(at);
                if preference == Preference::Shortest {
                    break;
                }
            }
            if text.get(at) == Some(&'\n') {
                break;
            }
        }
        Ok(best)
    }

    /// Says whether `part` matches exactly at `at`.
    fn part_at(&self, part: &[Token], text: &[char], at: usize) -> Result<bool, ExpandCause> {
        let mut compared = 1;
        let mut matches = true;
        for (ix, token) in part.iter().enumerate() {
            compared += 1;
            matches = match (token, text.get(at + ix)) {
                (Token::Any, Some(ch)) => *ch != '\n',
                (Token::Char(wanted), Some(ch)) => wanted == ch,
                (_, None) => false,
            };
            if !matches {
                break;
            }
        }
        self.steps.set(self.steps.get() + compared);
        if self.steps.get() > MAX_STEPS {
            return Err(ExpandCause::TooSlow);
        }
        Ok(matches)
    }
}

/// Separates the second sign of `##` and `%%` from the pattern.
fn strip_doubled(operand: &str, sign: char) -> (&str, Preference) {
    match operand.strip_prefix(sign) {
        Some(pattern) => (pattern, Preference::Longest),
        None => (operand, Preference::Shortest),
    }
}

/// Reverses a pattern but keeps each escape before its character.
fn reversed(pattern: &str) -> String {
    let mut units: Vec<Vec<char>> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(ch) = chars.next() {
        let mut unit = vec![ch];
        if ch == '\\' {
            unit.extend(chars.next());
        }
        units.push(unit);
    }
    units.into_iter().rev().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_do_not_cross_lines() {
        let pattern = Pattern::for_prefix("#*").expect("valid");
        assert_eq!(pattern.trim_prefix("ab\ncd").expect("fast"), "\ncd");
    }

    #[test]
    fn all_matches_of_nothing() {
        let pattern = Pattern::to_replace("").expect("valid");
        assert_eq!(pattern.replace_all("ab", "-").expect("fast"), "-a-b-");
    }

    #[test]
    fn long_inputs_end_with_an_error() {
        let pattern = Pattern::to_replace(&("a".repeat(4096) + "*b")).expect("valid");
        let value = "a".repeat(1 << 20);
        assert_eq!(pattern.replace_all(&value, ""), Err(ExpandCause::TooSlow));
    }
}
