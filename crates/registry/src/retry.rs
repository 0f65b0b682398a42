//! How long to pause before another attempt.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

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
}

/// Whether the answer asks to be tried again later.
pub(crate) fn asks_for_patience(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// The pause that a `Retry-After` header asks for; dates are not understood, only seconds.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    text.parse().ok().map(Duration::from_secs)
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
    }

    #[test]
    fn retry_after_reads_seconds() {
        let read = |text: &'static str| {
            let headers = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            retry_after(&headers)
        };
        assert_eq!(read(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }
}
