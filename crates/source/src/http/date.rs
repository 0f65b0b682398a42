//! Dates as HTTP writes them.

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`; `None` for any other text.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(at.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for wrong in ["", "yesterday", "1994-11-06"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
