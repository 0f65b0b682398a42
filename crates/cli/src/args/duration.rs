//! Times with units.

use std::time::Duration;

/// Reads a whole number and s, m, h or d; without a unit it is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is no time; write a number and s, m, h or d, such as 90m");
    let trimmed = text.trim();
    let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &trimmed[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(refuse()),
    };
    let number: u64 = digits.parse().map_err(|_| refuse())?;
    number
        .checked_mul(factor)
        .map(Duration::from_secs)
        .ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, secs) in [
            ("0", 0),
            ("90", 90),
            ("5s", 5),
            ("2m", 120),
            ("1h", 3600),
            ("7d", 604_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for wrong in [
            "",
            "h",
            "1w",
            "-1",
            "1.5h",
            "99999999999999999999",
            "9999999999999999d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
