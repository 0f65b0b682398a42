//! Times in attributes that BuildKit has, too.

use std::time::Duration;

/// A time as Go writes it: `24h`, `1h30m`, `90s`, `500ms`, `0`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (count, tail) = rest.split_at(digits);
        let count: u64 = count.parse().ok()?;
        let end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let part = Duration::from_millis(count.checked_mul(milliseconds)?);
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_go() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(duration(text), ms.map(Duration::from_millis), "{text}");
        };
        check("24h", Some(86_400_000));
        check("1h30m5s", Some(5_405_000));
        check("500ms", Some(500));
        check("0", Some(0));
        for nonsense in ["", "h", "1", "1d", "-1h", "1h-", "99999999999999999999h"] {
            check(nonsense, None);
        }
    }
}
