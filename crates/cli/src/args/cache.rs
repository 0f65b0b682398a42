//! The commands about the disk space of the store.

use clap::Args;
use rbuild::{CacheFilter, Compare};

use super::duration::duration;
use super::images::TableFormat;
use super::size::size;

/// The words that a filter by kind takes.
const KINDS: [&str; 6] = [
    "regular",
    "source.local",
    "source.git.checkout",
    "exec.cachemount",
    "frontend",
    "internal",
];

/// Options of `rbuild du`.
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// Show only these, as until=24h, type=…, description~=…, id=…, inuse, shared, private, mutable or
    /// immutable; repeatable, all must hold
    #[arg(long = "filter", value_name = "FILTER", value_delimiter = ',', value_parser = cache_filter)]
    pub filters: Vec<CacheFilter>,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: TableFormat,

    /// Print all that is known of each
    #[arg(long)]
    pub verbose: bool,
}

/// Options of `rbuild prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Forget the steps of images with a name, too; the images stay
    #[arg(short, long)]
    pub all: bool,

    /// Do not ask
    #[arg(short, long)]
    pub force: bool,

    /// Remove only these, as until=24h, type=…, description~=…, id=…, inuse, shared, private, mutable or
    /// immutable; repeatable, all must hold
    #[arg(long = "filter", value_name = "FILTER", value_delimiter = ',', value_parser = cache_filter)]
    pub filters: Vec<CacheFilter>,

    /// Leave this much in the store
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "0", hide_default_value = true)]
    pub reserved_space: u64,

    /// Remove only until the store takes no more than this
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "0", hide_default_value = true)]
    pub max_used_space: u64,

    /// Remove only until this much is free on the disk
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "0", hide_default_value = true)]
    pub min_free_space: u64,

    /// Print all that is known of each
    #[arg(long)]
    pub verbose: bool,
}

/// Reads a filter as BuildKit has them: `KEY`, `KEY=VALUE`, `KEY!=VALUE` or `KEY~=PART`.
pub fn cache_filter(text: &str) -> Result<CacheFilter, String> {
    let (key, compare) = split(text);
    match (key, compare) {
        ("id", Some(compare)) => Ok(CacheFilter::Id(checked(compare)?)),
        ("description", Some(compare)) => Ok(CacheFilter::Description(checked(compare)?)),
        ("type", Some(compare)) => kind(checked(compare)?),
        ("until", Some(Compare::Is(age))) => Ok(CacheFilter::Until(duration(&age)?)),
        ("inuse", value) => Ok(CacheFilter::InUse(truth(key, value)?)),
        ("shared", value) => Ok(CacheFilter::Shared(truth(key, value)?)),
        ("private", value) => Ok(CacheFilter::Shared(!truth(key, value)?)),
        ("mutable", value) => Ok(CacheFilter::Mutable(truth(key, value)?)),
        ("immutable", value) => Ok(CacheFilter::Mutable(!truth(key, value)?)),
        ("parent" | "parents", _) => {
            Err("layers have no parents here; filter by id, type or description".to_owned())
        }
        ("id" | "description" | "type" | "until", _) => {
            Err(format!("the filter {key} needs a value, as {key}=VALUE"))
        }
        _ => Err(format!(
            "there is no filter {key:?}; there are id, type, description, until, inuse, shared, private, \
             mutable and immutable"
        )),
    }
}

fn split(text: &str) -> (&str, Option<Compare>) {
    let Some((key, value)) = text.split_once('=') else {
        return (text, None);
    };
    let value = value.strip_prefix('=').unwrap_or(value).to_owned();
    match key.as_bytes().last() {
        Some(b'!') => (&key[..key.len() - 1], Some(Compare::IsNot(value))),
        Some(b'~') => (&key[..key.len() - 1], Some(Compare::Contains(value))),
        _ => (key, Some(Compare::Is(value))),
    }
}

/// Refuses patterns: `~=` takes a part of the text.
fn checked(compare: Compare) -> Result<Compare, String> {
    match &compare {
        Compare::Contains(part)
            if part.contains(['*', '+', '?', '^', '$', '[', '(', '|', '\\']) =>
        {
            Err(format!(
                "{part:?} is a pattern; `~=` takes a plain part of the text"
            ))
        }
        _ => Ok(compare),
    }
}

fn kind(compare: Compare) -> Result<CacheFilter, String> {
    match &compare {
        Compare::Is(word) | Compare::IsNot(word) if !KINDS.contains(&word.as_str()) => Err(
            format!("there is no type {word:?}; there are {}", KINDS.join(", ")),
        ),
        _ => Ok(CacheFilter::Kind(compare)),
    }
}

fn truth(key: &str, value: Option<Compare>) -> Result<bool, String> {
    match value {
        None => Ok(true),
        Some(Compare::Is(word)) if ["1", "true"].contains(&word.as_str()) => Ok(true),
        Some(Compare::Is(word)) if ["0", "false"].contains(&word.as_str()) => Ok(false),
        Some(_) => Err(format!("the filter {key} is true or false")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn filters_are_buildkits() {
        let is = |text: &str| Compare::Is(text.to_owned());
        for (text, expected) in [
            ("id=0a", CacheFilter::Id(is("0a"))),
            ("id==0a", CacheFilter::Id(is("0a"))),
            (
                "type!=regular",
                CacheFilter::Kind(Compare::IsNot("regular".to_owned())),
            ),
            (
                "description~=go build",
                CacheFilter::Description(Compare::Contains("go build".to_owned())),
            ),
            ("until=24h", CacheFilter::Until(Duration::from_secs(86_400))),
            ("inuse", CacheFilter::InUse(true)),
            ("inuse=false", CacheFilter::InUse(false)),
            ("private", CacheFilter::Shared(false)),
            ("immutable", CacheFilter::Mutable(false)),
        ] {
            assert_eq!(cache_filter(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_filters_are_refused_with_what_there_is() {
        for (text, part) in [
            ("", "there are id"),
            ("size=1", "there are id"),
            ("type=what", "exec.cachemount"),
            ("until=soon", "no time"),
            ("until", "needs a value"),
            ("id", "needs a value"),
            ("shared=maybe", "true or false"),
            ("parents=x", "no parents"),
            ("description~=a.*b", "plain part"),
        ] {
            let error = cache_filter(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
