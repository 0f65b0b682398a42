//! Which entries are meant: BuildKit's filters.

use std::time::{Duration, SystemTime};

use super::CacheEntry;

/// A condition on entries of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFilter {
    /// On the id; a beginning of it is as good.
    Id(Compare),
    /// On the description.
    Description(Compare),
    /// On the kind, in BuildKit's words.
    Kind(Compare),
    /// Whether a running process uses it.
    InUse(bool),
    /// Whether an image with a name holds it, too.
    Shared(bool),
    /// Whether it can change: cache mounts can.
    Mutable(bool),
    /// Not used for this long.
    Until(Duration),
}

/// A comparison with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// It is this.
    Is(String),
    /// It is something else.
    IsNot(String),
    /// This is somewhere in it.
    Contains(String),
}

impl Compare {
    fn holds(&self, text: &str) -> bool {
        match self {
            Compare::Is(wanted) => text == wanted,
            Compare::IsNot(other) => text != other,
            Compare::Contains(part) => text.contains(part.as_str()),
        }
    }
}

impl CacheFilter {
    /// Whether an entry meets the condition at a time.
    pub fn holds(&self, entry: &CacheEntry, now: SystemTime) -> bool {
        match self {
            CacheFilter::Id(Compare::Is(wanted)) => entry.id.starts_with(wanted.as_str()),
            CacheFilter::Id(Compare::IsNot(other)) => !entry.id.starts_with(other.as_str()),
            CacheFilter::Id(compare) => compare.holds(&entry.id),
            CacheFilter::Description(compare) => compare.holds(&entry.description),
            CacheFilter::Kind(compare) => compare.holds(&entry.kind.to_string()),
            CacheFilter::InUse(wanted) => entry.in_use == *wanted,
            CacheFilter::Shared(wanted) => entry.shared == *wanted,
            CacheFilter::Mutable(wanted) => (entry.kind == super::CacheKind::CacheMount) == *wanted,
            CacheFilter::Until(age) => entry.idle(now) >= *age,
        }
    }
}
