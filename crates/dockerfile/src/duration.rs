//! Durations in Go's notation: `1h30m`, `2.5s`, `100ms`.

use nom::Parser;
use nom::bytes::complete::{take_till1, take_while};
use nom::combinator::opt;
use nom::error::Error;
use nom::sequence::preceded;

use crate::quote::go_quote;

/// Why a text is no duration; the texts are those of Go's package time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a duration at all, or too long a one.
    #[error("time: invalid duration {}", go_quote(.0))]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {}", go_quote(.0))]
    MissingUnit(String),
    /// A unit that there is not.
    #[error("time: unknown unit {} in duration {}", go_quote(.unit), go_quote(.text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Reads a duration; the result is in nanoseconds and may be negative.
///
/// Source: Go, package time, ParseDuration.
///
/// Grammar: dockerfile.ebnf#duration
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1, body),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if body == "0" {
        return Ok(0);
    }
    if body.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let (after, part) = duration_part(text, rest)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = after;
    }
    Ok(sign * total)
}

/// Reads one number and its unit.
///
/// Grammar: dockerfile.ebnf#duration-part
fn duration_part<'a>(text: &str, input: &'a str) -> Result<(&'a str, i64), DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let digits = || take_while::<_, _, Error<&str>>(|ch: char| ch.is_ascii_digit());
    let point = nom::character::complete::char('.');
    let (rest, (whole, fraction)) = (digits(), opt(preceded(point, digits())))
        .parse(input)
        .map_err(|_| invalid())?;
    let fraction = fraction.unwrap_or_default();
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let (rest, unit) = take_till1::<_, _, Error<&str>>(|ch: char| ch == '.' || ch.is_ascii_digit())
        .parse(rest)
        .map_err(|_| DurationError::MissingUnit(text.to_owned()))?;
    let scale = unit_ns(unit).ok_or_else(|| DurationError::UnknownUnit {
        unit: unit.to_owned(),
        text: text.to_owned(),
    })?;
    let whole: i64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| invalid())?,
    };
    let part = whole.checked_mul(scale).ok_or_else(invalid)?;
    let part = part
        .checked_add(fraction_ns(fraction, scale))
        .ok_or_else(invalid)?;
    Ok((rest, part))
}

/// Returns the nanoseconds of a decimal fraction of a unit, rounded down.
fn fraction_ns(digits: &str, scale: i64) -> i64 {
    let mut part = 0_i128;
    let mut unit = i128::from(scale) * 1_000_000_000;
    for digit in digits.bytes() {
        unit /= 10;
        part += i128::from(digit - b'0') * unit;
    }
    i64::try_from(part / 1_000_000_000).unwrap_or(0)
}

fn unit_ns(unit: &str) -> Option<i64> {
    match unit {
        "ns" => Some(1),
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("1h2m3.5s"), Ok(3_723_500_000_000));
        assert_eq!(parse_duration("-.5ms"), Ok(-500_000));
        assert_eq!(parse_duration("0"), Ok(0));
        assert_eq!(parse_duration("100us"), Ok(100_000));
    }

    #[test]
    fn errors_are_those_of_go() {
        let error = |text| parse_duration(text).expect_err("wrong").to_string();
        assert_eq!(error("5"), "time: missing unit in duration \"5\"");
        assert_eq!(error("1x"), "time: unknown unit \"x\" in duration \"1x\"");
        assert_eq!(error(""), "time: invalid duration \"\"");
        assert_eq!(error("99999999h"), "time: invalid duration \"99999999h\"");
        assert_eq!(error("$I"), "time: invalid duration \"$I\"");
    }
}
