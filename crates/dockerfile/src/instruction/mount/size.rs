//! Sizes in bytes as people write them: `64m`, `1.5 GiB`.

use nom::Parser;
use nom::bytes::complete::take_while1;
use nom::combinator::{opt, rest};
use nom::error::Error;

/// Reads a number of bytes with an optional binary unit; `None` when it is none.
///
/// Source: Go, github.com/docker/go-units, RAMInBytes, including its tolerance of a space.
///
/// Grammar: dockerfile.ebnf#size
pub(super) fn parse_size(text: &str) -> Option<i64> {
    let number = take_while1::<_, _, Error<&str>>(|ch: char| ch.is_ascii_digit() || ch == '.');
    let (unit, digits) = (number, opt(nom::character::complete::char(' ')))
        .parse(text)
        .ok()
        .map(|(unit, (digits, _))| (unit, digits))?;
    let value: f64 = digits.parse().ok()?;
    let (_, unit) = rest::<_, Error<&str>>.parse(unit).ok()?;
    let scale = 2_f64.powi(10 * power(&unit.to_ascii_lowercase())?);
    let bytes = value * scale;
    // Beyond 2^53 the product is not exact any more, and no mount is that large.
    (bytes < 9e15).then_some(bytes as i64)
}

fn power(unit: &str) -> Option<i32> {
    let prefix = match unit {
        "" | "b" => return Some(0),
        _ => unit
            .strip_suffix("ib")
            .or_else(|| unit.strip_suffix('b'))
            .unwrap_or(unit),
    };
    match prefix {
        "k" => Some(1),
        "m" => Some(2),
        "g" => Some(3),
        "t" => Some(4),
        "p" => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("100"), Some(100));
        assert_eq!(parse_size("64m"), Some(64 << 20));
        assert_eq!(parse_size("1.5 GiB"), Some(3 << 29));
        assert_eq!(parse_size("2KB"), Some(2048));
        for text in ["", "m", "-1", "1x", "1 kb b", "1..2", "9999999p"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
