//! The options about caches elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::csv::fields;
use super::duration::duration;

/// Options of `rbuild build` about caches elsewhere.
#[derive(Debug, Args)]
pub struct RemoteCacheArgs {
    /// Cache to read, as type=registry,ref=NAME or type=local,src=DIR; a bare NAME is one in a registry;
    /// repeatable
    #[arg(long, value_name = "CACHE", value_parser = pairs, help_heading = "Cache")]
    pub cache_from: Vec<CachePairs>,

    /// Cache to write, as type=registry,ref=NAME[,mode=max] or type=local,dest=DIR; repeatable
    #[arg(long, value_name = "CACHE", value_parser = pairs, help_heading = "Cache")]
    pub cache_to: Vec<CachePairs>,

    /// How long layers may still be sent to caches when the build is done, such as 30s; what saves most
    /// for its bytes goes first [default: until all are there]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Cache")]
    pub cache_budget: Option<Duration>,

    /// File with the key that sign what is written; `rbuild cache key FILE` makes one
    /// [default: $RBUILD_CACHE_KEY]
    #[arg(long, value_name = "FILE", help_heading = "Cache")]
    pub cache_key: Option<PathBuf>,

    /// Public key, or a file with some, of those whose entries are believed; repeatable
    /// [default: $RBUILD_CACHE_TRUST, else all that lies in the caches that are named]
    #[arg(long, value_name = "KEY", help_heading = "Cache")]
    pub cache_trust: Vec<String>,

    /// How old an entry of a cache may be, such as 14d [default: any age]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Cache")]
    pub cache_max_age: Option<Duration>,
}

/// The commands about caches elsewhere.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Make a key that signs what builds write to caches, and print its public half
    Key(CacheKeyArgs),
}

/// Options of `rbuild cache key`.
#[derive(Debug, Args)]
pub struct CacheKeyArgs {
    /// File to write the key to; if it is there, its public half is printed
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What stands in an option about a cache, by name.
#[derive(Debug, Clone)]
pub struct CachePairs(pub BTreeMap<String, String>);

/// What stands in the option; a bare name is one in a registry.
fn pairs(text: &str) -> Result<CachePairs, String> {
    if !text.contains('=') && !text.is_empty() {
        let pairs = [("type", "registry"), ("ref", text)];
        let pairs = pairs.map(|(k, v)| (k.to_owned(), v.to_owned()));
        return Ok(CachePairs(pairs.into()));
    }
    fields(text).map(CachePairs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_one_in_a_registry() {
        assert_eq!(pairs("host/app").unwrap().0["ref"], "host/app");
        assert_eq!(pairs("type=local,src=/c").unwrap().0["src"], "/c");
        assert!(pairs("").is_err());
    }
}
