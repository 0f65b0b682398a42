//! How long to pause before another attempt.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::config::RetryPolicy;

impl RetryPolicy {
    /// The pause after the `failures`th failure in a row (from 1), or what the registry asked for.
    pub(crate) fn pause(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        // Clients that failed together must not come back together: half of the pause is random.
        let random = u32::try_from(RandomState::new().hash_one(failures) & 0xff).unwrap_or(0);
        let spread = doubled / 2 + (doubled / 2) * random / 255;
        asked.unwrap_or(spread).min(self.longest_pause)
    }

    /// Whether the registry asks for more patience than there is.
    pub(crate) fn is_too_long(&self, asked: Option<Duration>) -> bool {
        asked.is_some_and(|asked| asked > self.longest_pause)
    }
}

/// Attempts when a connection stands and nothing comes: waiting costs most of all, and helps least.
pub(crate) const STALLS: u32 = 2;

/// Whether the answer asks to be tried again later.
pub(crate) fn asks_for_patience(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The pause that a `Retry-After` header asks for, in seconds or until a date. Source: RFC 9110, 10.2.3.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(RETRY_AFTER)?;
    if let Ok(secs) = asked.parse() {
        return Some(Duration::from_secs(secs));
    }
    let until = date(asked)?;
    // By the clock of whoever wrote the date, if it says what that shows.
    let now = text(DATE).and_then(date).or_else(now)?;
    Some(Duration::from_secs(until.saturating_sub(now)))
}

/// Seconds since 1970.
fn date(text: &str) -> Option<u64> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    u64::try_from(at.timestamp().as_second()).ok()
}

fn now() -> Option<u64> {
    let age = SystemTime::now().duration_since(UNIX_EPOCH);
    age.ok().map(|age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let policy = RetryPolicy::default();
        for failures in 1..40 {
            let pause = policy.pause(failures, None);
            assert!(pause >= policy.first_pause / 2 && pause <= policy.longest_pause);
        }
        assert!(policy.pause(6, None) > policy.pause(1, None));
        let asked = |secs| policy.pause(1, Some(Duration::from_secs(secs)));
        assert_eq!(asked(7), Duration::from_secs(7));
        assert_eq!(asked(86_400), policy.longest_pause);
        let too_long = |secs| policy.is_too_long(Some(Duration::from_secs(secs)));
        assert!(too_long(86_400) && !too_long(7) && !policy.is_too_long(None));
    }

    #[test]
    fn retry_after_reads_seconds_and_dates() {
        let read = |asked: &'static str, date: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, asked.parse().unwrap());
            if !date.is_empty() {
                headers.insert(DATE, date.parse().unwrap());
            }
            retry_after(&headers).map(|pause| pause.as_secs())
        };
        assert_eq!(read(" 3 ", ""), Some(3));
        let (until, before) = (
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Wed, 21 Oct 2015 07:27:45 GMT",
        );
        assert_eq!(read(until, before), Some(15));
        assert_eq!(read(before, until), Some(0));
        // Long ago by our own clock.
        assert_eq!(read(until, ""), Some(0));
        assert!(read("Mon, 21 Oct 2115 07:28:00 GMT", "").is_some_and(|secs| secs > 1 << 30));
        assert_eq!(read("soon", ""), None);
        assert_eq!(read("-3", ""), None);
    }
}
