//! The options about caches elsewhere.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
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
    #[arg(long, value_name = "CACHE", value_parser = cache_text, help_heading = "Cache")]
    pub cache_from: Vec<CacheText>,

    /// Cache to write, as type=registry,ref=NAME[,mode=max] or type=local,dest=DIR; repeatable
    #[arg(long, value_name = "CACHE", value_parser = cache_text, help_heading = "Cache")]
    pub cache_to: Vec<CacheText>,

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

/// What stands in an option about a cache. Never shown, not even if it makes no sense: it may hold keys.
#[derive(Clone)]
pub struct CacheText(String);

impl fmt::Debug for CacheText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheText(…)")
    }
}

impl CacheText {
    /// Its attributes; a bare name is one in a registry. The error does not repeat the text.
    pub fn pairs(&self) -> Result<BTreeMap<String, String>, String> {
        let text = self.0.as_str();
        if !text.contains('=') && !text.is_empty() {
            let pairs = [("type", "registry"), ("ref", text)];
            return Ok(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        }
        fields(text).map_err(|_| {
            "it must be NAME=VALUE,NAME=VALUE,..., each name once, and what holds a comma in double quotes"
                .to_owned()
        })
    }
}

/// Takes any text: what is wrong with it is said later, and without it.
fn cache_text(text: &str) -> Result<CacheText, Infallible> {
    Ok(CacheText(text.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_one_in_a_registry() {
        let pairs = |text: &str| cache_text(text).unwrap().pairs();
        assert_eq!(pairs("host/app").unwrap()["ref"], "host/app");
        assert_eq!(pairs("type=local,src=/c").unwrap()["src"], "/c");
        assert!(pairs("").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_not_repeated() {
        for text in [
            "type=s3,secret_access_key=hun,ter2",
            "type=s3,\"token=hunter2",
        ] {
            let text = cache_text(text).unwrap();
            let shown = format!("{} {text:?}", text.pairs().unwrap_err());
            assert!(!shown.contains("ter2"), "{shown}");
        }
    }
}
