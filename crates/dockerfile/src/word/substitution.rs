//! The inside of `${...}`: name, operator, operand, replacement.

use super::shellword::{Level, name, split, variable};
use super::{Braces, Operator, Piece, Substitution, SyntaxFault, Unset};

/// Reads what follows `${`.
///
/// Grammar: shellword.ebnf#braced
pub(super) fn braced<'a>(level: Level<'a>, from: &'a str, inside: &'a str) -> (&'a str, Piece) {
    let fault = |rest: &'a str, fault| (rest, level.invalid(from, rest, fault));
    match inside.chars().next() {
        None => return fault(inside, SyntaxFault::MissingBrace),
        Some('{' | '}' | ':') => return fault(inside, SyntaxFault::BadSubstitution),
        Some(_) => {}
    }
    let (rest, name) = split(inside, name);
    let mut chars = rest.chars();
    match chars.next() {
        Some('}') => {
            let rest = chars.as_str();
            (rest, variable(level, from, rest, name, Braces::Plain))
        }
        Some(mark @ (':' | '+' | '-' | '?' | '#' | '%')) => {
            with_operand(level, from, name, mark, chars.as_str())
        }
        Some('/') => with_replacement(level, from, name, chars.as_str()),
        other => {
            // The end of the word prints as U+FFFD.
            let mark = other.unwrap_or('\u{fffd}').to_string();
            fault(chars.as_str(), SyntaxFault::UnsupportedModifier(mark))
        }
    }
}

/// Reads the operator at `mark` and its operand.
///
/// Grammar: shellword.ebnf#operand
fn with_operand<'a>(
    level: Level<'a>,
    from: &'a str,
    name: &'a str,
    mark: char,
    after: &'a str,
) -> (&'a str, Piece) {
    let mut modifier = mark.to_string();
    let (mut sign, mut rest, mut unset) = (Some(mark), after, Unset::Missing);
    if mark == ':' {
        let mut chars = after.chars();
        sign = chars.next();
        rest = chars.as_str();
        unset = Unset::MissingOrEmpty;
        modifier.push(sign.unwrap_or('\u{fffd}'));
        if matches!(sign, Some('#' | '%')) {
            let fault = SyntaxFault::UnsupportedModifier(modifier);
            return (rest, level.invalid(from, rest, fault));
        }
    }
    let operator = match sign {
        Some('-') => Operator::Default(unset),
        Some('+') => Operator::Alternate(unset),
        Some('?') => Operator::Require(unset),
        Some('#') => Operator::TrimPrefix,
        Some('%') => Operator::TrimSuffix,
        _ => Operator::Unsupported,
    };
    let pattern = matches!(operator, Operator::TrimPrefix | Operator::TrimSuffix);
    let (rest, operand) = level.operand(rest, '}', pattern, SyntaxFault::MissingBrace);
    let braces = Braces::Operator(Box::new(Substitution {
        operator,
        modifier,
        operand: operand.pieces,
        replacement: Vec::new(),
    }));
    (rest, variable(level, from, rest, name, braces))
}

/// Reads pattern and replacement after the first slash.
///
/// Grammar: shellword.ebnf#replace
fn with_replacement<'a>(
    level: Level<'a>,
    from: &'a str,
    name: &'a str,
    after: &'a str,
) -> (&'a str, Piece) {
    let (operator, after) = match after.strip_prefix('/') {
        Some(after) => (Operator::ReplaceAll, after),
        None => (Operator::ReplaceFirst, after),
    };
    let (mut rest, pattern) = level.operand(after, '/', true, SyntaxFault::MissingSlash);
    let mut replacement = Vec::new();
    if pattern.closed {
        let (end, found) = level.operand(rest, '}', true, SyntaxFault::MissingBrace);
        rest = end;
        replacement = found.pieces;
    }
    let braces = Braces::Operator(Box::new(Substitution {
        operator,
        modifier: "/".to_owned(),
        operand: pattern.pieces,
        replacement,
    }));
    (rest, variable(level, from, rest, name, braces))
}
