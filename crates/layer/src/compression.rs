//! How a layer's tar is compressed: the choice, its parameters, its media type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A compression with the parameters that its bytes depend on.
///
/// The text form (`none`, `gzip-6`, `zstd-3`) is what rows in the store are keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Compression {
    /// The tar as it is.
    None,
    /// gzip at level 1 to 9.
    Gzip {
        /// 1 (fast) to 9 (small).
        level: u32,
    },
    /// zstd at level 1 to 22.
    Zstd {
        /// 1 (fast) to 22 (small).
        level: u32,
    },
}

impl Compression {
    /// gzip as image builders use it by default.
    pub const GZIP: Self = Self::Gzip { level: 6 };
    /// zstd as image builders use it by default.
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// The OCI media type of a layer in this form.
    pub fn media_type(self) -> &'static str {
        self.format().oci_layer()
    }

    /// The format without its parameters.
    pub fn format(self) -> rbuild_oci::Compression {
        match self {
            Self::None => rbuild_oci::Compression::None,
            Self::Gzip { .. } => rbuild_oci::Compression::Gzip,
            Self::Zstd { .. } => rbuild_oci::Compression::Zstd,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip { level } => write!(f, "gzip-{level}"),
            Self::Zstd { level } => write!(f, "zstd-{level}"),
        }
    }
}

impl From<Compression> for String {
    fn from(compression: Compression) -> Self {
        compression.to_string()
    }
}

/// Text or a level that names no compression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no compression: none, gzip-1 to gzip-9, zstd-1 to zstd-22")]
pub struct NotACompression {
    text: String,
}

impl FromStr for Compression {
    type Err = NotACompression;

    fn from_str(text: &str) -> Result<Self, NotACompression> {
        let level = |level: &str, most| {
            let level = level.parse::<u32>().ok();
            level.filter(|level| (1..=most).contains(level))
        };
        let found = match text.split_once('-') {
            None if text == "none" => Some(Self::None),
            Some(("gzip", rest)) => level(rest, 9).map(|level| Self::Gzip { level }),
            Some(("zstd", rest)) => level(rest, 22).map(|level| Self::Zstd { level }),
            _ => None,
        };
        found.ok_or_else(|| NotACompression {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for Compression {
    type Error = NotACompression;

    fn try_from(text: String) -> Result<Self, NotACompression> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "", "gzip", "gzip-0", "gzip-10", "zstd-23", "none-1", "xz-1", "zstd-x",
        ] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }
}
