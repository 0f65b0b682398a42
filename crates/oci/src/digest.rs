//! The digest that names content, and taking one of bytes in memory.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::{Error, Result};

/// A hash function that may name content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, the one everybody uses.
    Sha256,
    /// SHA-384, which is in no specification of images, but which Docker's tools accept.
    Sha384,
    /// SHA-512, which the image specification also registers.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the hexadecimal part, in characters.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// Algorithm and hash value that name content, as `sha256:<64 lower-case hex digits>`.
///
/// Always valid: the only ways to one are the checked [`Digest::parse`] and hashing. Cloning is
/// cheap. Order is that of the text. Source: OCI image-spec, descriptor.md, "Digests".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

impl Digest {
    /// Reads `sha256:…`, `sha384:…` or `sha512:…`.
    ///
    /// Errors: [`Error::Digest`] when the colon is missing, the algorithm is another one, the
    /// length is wrong or a character is not a lower-case hexadecimal digit.
    ///
    /// Grammar: reference.ebnf#digest
    pub fn parse(text: &str) -> Result<Self> {
        let fail = |reason| Error::Digest {
            text: text.to_owned(),
            reason,
        };
        let (name, hex) = text
            .split_once(':')
            .ok_or_else(|| fail("no colon after the algorithm"))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            _ => return Err(fail("unsupported digest algorithm")),
        };
        if hex.len() != algorithm.hex_len() {
            return Err(fail("wrong number of hexadecimal digits"));
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(fail("not lower-case hexadecimal"));
        }
        Ok(Self(text.into()))
    }

    /// Hashes `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// Hashes `bytes` with SHA-256.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        Self::from_sha256(Sha256::digest(bytes).into())
    }

    /// Wraps a finished SHA-256 value.
    pub fn from_sha256(value: [u8; 32]) -> Self {
        Self(format!("sha256:{}", hex::encode(value)).into())
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        &self.0[self.algorithm().as_str().len() + 1..]
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        match self.0.split_once(':') {
            Some(("sha384", _)) => Algorithm::Sha384,
            Some(("sha512", _)) => Algorithm::Sha512,
            _ => Algorithm::Sha256,
        }
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve hexadecimal digits: for people, never for lookups.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A hash in the making, of any of the algorithms.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(state) => state.update(bytes),
            Self::Sha384(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(state) => Digest::from_sha256(state.finalize().into()),
            Self::Sha384(state) => named(Algorithm::Sha384, &state.finalize()),
            Self::Sha512(state) => named(Algorithm::Sha512, &state.finalize()),
        }
    }
}

fn named(algorithm: Algorithm, value: &[u8]) -> Digest {
    Digest(format!("{}:{}", algorithm.as_str(), hex::encode(value)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn sha256_of_nothing_is_the_known_value() {
        let digest = Digest::sha256_of(b"");
        assert_eq!(digest.as_str(), EMPTY);
        assert_eq!(digest.hex(), &EMPTY[7..]);
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        assert_eq!(digest.short(), "e3b0c44298fc");
    }

    #[test]
    fn longer_hashes_are_told_apart_and_taken() {
        let check = |algorithm, begins: &str| {
            let digest = Digest::of(algorithm, b"abc");
            assert!(digest.hex().starts_with(begins), "{digest}");
            assert_eq!(digest.hex().len(), algorithm.hex_len());
            assert_eq!(digest.algorithm(), algorithm);
            assert_eq!(Digest::parse(digest.as_str()).unwrap(), digest);
        };
        check(Algorithm::Sha384, "cb00753f45a35e8bb5a03d699ac65007");
        check(Algorithm::Sha512, "ddaf35a193617abacc417349ae204131");
    }

    #[test]
    fn parse_says_what_is_wrong() {
        let check = |text: &str, reason: &str| {
            let message = Digest::parse(text).unwrap_err().to_string();
            assert!(message.ends_with(reason), "{text}: {message}");
        };
        check("e3b0", "no colon after the algorithm");
        check(
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "unsupported digest algorithm",
        );
        check("sha256:e3b0", "wrong number of hexadecimal digits");
        check(
            &EMPTY.replace("sha256", "sha512"),
            "wrong number of hexadecimal digits",
        );
        check(
            &EMPTY.replace("sha256", "sha384"),
            "wrong number of hexadecimal digits",
        );
        check(&EMPTY.replace('e', "E"), "not lower-case hexadecimal");
        check(&EMPTY.replace("e3b0", "é3b"), "not lower-case hexadecimal");
    }

    #[test]
    fn serde_uses_the_text_and_checks_it() {
        let digest = Digest::sha256_of(b"x");
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"sha256:zz\"").is_err());
    }
}
