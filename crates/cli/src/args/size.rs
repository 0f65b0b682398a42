//! Sizes with units, as Docker reads them.

/// Reads a size in bytes: digits with an optional point, then b, k, m, g or t, in either case and
/// optionally followed by `b` or `ib`; units are powers of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let refuse = || format!("`{text}` is no size; write a number and b, k, m or g, such as 64m");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let factor = factor(unit.trim()).ok_or_else(refuse)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(refuse);
    }
    let fraction = number.contains('.').then_some(number).ok_or_else(refuse)?;
    let value: f64 = fraction.parse().map_err(|_| refuse())?;
    // A fraction of a unit need not be exact to the byte.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let bytes = (value * factor as f64) as u64;
    Ok(bytes)
}

fn factor(unit: &str) -> Option<u64> {
    let power = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "" if unit != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    Some(1 << (10 * power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17b", 17),
            ("2k", 2048),
            ("2KB", 2048),
            ("64m", 64 << 20),
            ("64MiB", 64 << 20),
            ("1.5g", 3 << 29),
            ("1 g", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1.2.3", "1ib", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
