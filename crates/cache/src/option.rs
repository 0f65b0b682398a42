//! `--cache-to` and `--cache-from`: what is common to all places.

use std::collections::BTreeMap;
use std::time::Duration;

use rbuild_layer::Compression;

use crate::backend::Direction;
use crate::place::{Place, PlaceEnv};
use crate::{Attrs, DEFAULT_MAX_BYTES, Error, Keep, Result};

/// The scope of those who name none.
pub const DEFAULT_SCOPE: &str = "default";

/// A cache that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTo {
    /// Where.
    pub place: Place,
    /// Of which steps.
    pub mode: Mode,
    /// For which of several parties that share the place.
    pub scope: String,
    /// How layers are compressed; `None` as the image's are, else with zstd.
    pub compression: Option<Compression>,
    /// How long entries are kept.
    pub keep: Keep,
    /// Which cache mounts.
    pub mounts: Mounts,
    /// What the files of one of them may hold, in bytes: one that holds more does not travel.
    pub mounts_max: u64,
    /// Whether a failure only warns; without, it does as well, but is said to be an error.
    pub ignore_error: bool,
}

/// A cache that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFrom {
    /// Where.
    pub place: Place,
    /// Written for which party.
    pub scope: String,
    /// Which cache mounts.
    pub mounts: Mounts,
    /// What the files of one of them may hold, in bytes: one that holds more is not restored.
    pub mounts_max: u64,
}

/// Which steps are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those whose layers are in the result.
    #[default]
    Min,
    /// All.
    Max,
}

/// Which cache mounts travel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mounts {
    /// None.
    #[default]
    None,
    /// All that the build mounts.
    All,
    /// Those with one of these ids.
    These(Vec<String>),
}

impl CacheTo {
    /// Reads `type=KIND,...`. Errors: [`Error::Spec`].
    pub fn parse(pairs: BTreeMap<String, String>, env: &PlaceEnv) -> Result<Self> {
        let (kind, mut attrs) = split(pairs)?;
        let place = Place::parse(&kind, &mut attrs, (Direction::To, env))?;
        let mode = attrs.parsed("mode", "min or max", |text| match text {
            "min" => Some(Mode::Min),
            "max" => Some(Mode::Max),
            _ => None,
        })?;
        if place.is_inline() && mode == Some(Mode::Max) {
            return Err(Error::Spec(
                "type=inline holds the steps of the image's own layers; mode=max needs another place"
                    .to_owned(),
            ));
        }
        let parsed = Self {
            place,
            mode: mode.unwrap_or_default(),
            scope: scope(&mut attrs)?,
            compression: compression(&mut attrs)?,
            keep: keep(&mut attrs)?,
            mounts: mounts(&mut attrs),
            mounts_max: mounts_max(&mut attrs)?,
            ignore_error: attrs.switch("ignore-error", false)?,
        };
        attrs.finish()?;
        Ok(parsed)
    }
}

impl CacheFrom {
    /// Reads `type=KIND,...`. Errors: [`Error::Spec`].
    pub fn parse(pairs: BTreeMap<String, String>, env: &PlaceEnv) -> Result<Self> {
        let (kind, mut attrs) = split(pairs)?;
        let parsed = Self {
            place: Place::parse(&kind, &mut attrs, (Direction::From, env))?,
            scope: scope(&mut attrs)?,
            mounts: mounts(&mut attrs),
            mounts_max: mounts_max(&mut attrs)?,
        };
        attrs.finish()?;
        Ok(parsed)
    }
}

fn split(mut pairs: BTreeMap<String, String>) -> Result<(String, Attrs)> {
    let kind = pairs.remove("type").ok_or_else(|| {
        Error::Spec("it needs type=: registry, local, inline, s3, gha or azblob".to_owned())
    })?;
    let attrs = Attrs::new(kind.clone(), pairs)?;
    Ok((kind, attrs))
}

fn scope(attrs: &mut Attrs) -> Result<String> {
    let scope = attrs.parsed("scope", SCOPE_WANTED, |text| {
        is_scope(text).then(|| text.to_owned())
    })?;
    Ok(scope.unwrap_or_else(|| DEFAULT_SCOPE.to_owned()))
}

/// What a scope must be.
pub(crate) const SCOPE_WANTED: &str = "at most 128 letters, digits or one of - _ . /";

/// Whether a text can be a scope: it stands in tags, keys and paths of all kinds of places.
pub(crate) fn is_scope(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    text.len() <= 128 && text.chars().all(fits)
}

fn compression(attrs: &mut Attrs) -> Result<Option<Compression>> {
    // All layers that a build makes are written as asked for; there is nothing to force.
    attrs.switch("force-compression", false)?;
    let level: Option<u32> =
        attrs.parsed("compression-level", "a number", |text| text.parse().ok())?;
    attrs.parsed("compression", "uncompressed, gzip or zstd", |text| {
        let named = match (text, level) {
            ("uncompressed", _) => return Some(Compression::None),
            ("gzip", None) => return Some(Compression::GZIP),
            ("zstd", None) => return Some(Compression::ZSTD),
            ("gzip" | "zstd", Some(level)) => format!("{text}-{level}"),
            _ => return None,
        };
        named.parse().ok()
    })
}

fn keep(attrs: &mut Attrs) -> Result<Keep> {
    let mut keep = Keep::default();
    let unused = attrs.parsed("keep", "a time such as 36h or 14d", seconds)?;
    keep.unused_secs = unused.unwrap_or(keep.unused_secs);
    keep.max_bytes = attrs.parsed("max-size", "a size such as 5g", bytes)?;
    Ok(keep)
}

fn mounts(attrs: &mut Attrs) -> Mounts {
    match attrs.take("mounts").as_deref() {
        None | Some("none") => Mounts::None,
        Some("all") => Mounts::All,
        Some(ids) => Mounts::These(ids.split(';').map(str::to_owned).collect()),
    }
}

fn mounts_max(attrs: &mut Attrs) -> Result<u64> {
    let most = attrs.parsed("mounts-max", "a size such as 5g", bytes)?;
    Ok(most.unwrap_or(DEFAULT_MAX_BYTES))
}

impl Mounts {
    /// Whether a cache mount with this id travels.
    pub fn include(&self, id: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(ids) => ids.iter().any(|own| own == id),
        }
    }
}

/// Reads a number with a unit of time.
fn seconds(text: &str) -> Option<u64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    let number: u64 = text.get(..text.len() - 1)?.parse().ok()?;
    Duration::from_secs(number.checked_mul(unit)?)
        .as_secs()
        .into()
}

/// Reads a number with a binary unit.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let text = text.trim_end_matches("ib").trim_end_matches('b');
    let shift = match text.chars().last()? {
        'k' => 10,
        'm' => 20,
        'g' => 30,
        't' => 40,
        _ => 0,
    };
    let digits = if shift == 0 {
        text
    } else {
        text.get(..text.len() - 1)?
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn everything_common_is_read() {
        let text = "type=local,dest=/c,mode=max,scope=pr-7,compression=zstd,compression-level=9,keep=2d,max-size=3GiB,mounts=a;b,ignore-error=true";
        let to = CacheTo::parse(pairs(text), &PlaceEnv::default()).unwrap();
        assert_eq!(to.mode, Mode::Max);
        assert_eq!(to.scope, "pr-7");
        assert_eq!(to.compression, Some(Compression::Zstd { level: 9 }));
        let keep = Keep {
            unused_secs: 2 * 24 * 3600,
            max_bytes: Some(3 << 30),
        };
        assert_eq!(to.keep, keep);
        assert!(to.mounts.include("b") && !to.mounts.include("c"));
        let from =
            CacheFrom::parse(pairs("type=local,src=/c,mounts=all"), &PlaceEnv::default()).unwrap();
        assert!(from.mounts.include("x"));
        assert_eq!(from.scope, DEFAULT_SCOPE);
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        for (text, said) in [
            ("dest=/c", "it needs type="),
            (
                "type=local,dest=/c,mode=mid",
                "mode=mid: it must be min or max",
            ),
            ("type=local,dest=/c,compression=xz", "compression=xz"),
            (
                "type=local,dest=/c,compression=gzip,compression-level=77",
                "compression=gzip",
            ),
            ("type=local,dest=/c,keep=2", "keep=2"),
            ("type=local,dest=/c,max-size=x", "max-size=x"),
            ("type=local,dest=/c,scope=a b", "scope=a b"),
            ("type=local,dest=/c,unheard=of", "no attribute unheard="),
        ] {
            let error = CacheTo::parse(pairs(text), &PlaceEnv::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
