//! Who is believed: keys that entries are signed with.
//!
//! Ed25519 (RFC 8032) over the entry's JSON behind a line that says what it is. A place can lose or keep
//! back entries, and whoever can write there can put old ones back; it cannot make a new one.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::entry::{Entry, Signature, Signed};
use crate::{Error, Result};

/// First word of a file with a signing key.
const KEY_FILE: &str = "rbuild-cache-key-1";

/// First part of a printed public key.
const SCHEME: &str = "ed25519:";

/// Largest key file that is read.
const MAX_KEY_FILE: usize = 4096;

/// Length of a seed and of a public key in bytes.
const KEY_BYTES: usize = 32;

/// A key whose holder can vouch for entries.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Reads a key file. Errors: [`Error::KeyFile`].
    pub fn read(path: &Path) -> Result<Self> {
        let bad = |reason: String| Error::KeyFile {
            path: path.to_owned(),
            reason,
        };
        let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        Self::parse(&text)
            .ok_or_else(|| bad("it is no signing key; `rbuild cache key` makes one".to_owned()))
    }

    fn parse(text: &str) -> Option<Self> {
        let text = (text.len() <= MAX_KEY_FILE).then(|| text.trim())?;
        let (scheme, seed) = text.split_once(' ')?;
        let seed = (scheme == KEY_FILE).then(|| BASE64.decode(seed).ok())??;
        Ed25519KeyPair::from_seed_unchecked(&seed).ok().map(Self)
    }

    /// Makes a key and writes it to a file that only its owner can read; never over another file.
    pub fn create(path: &Path) -> Result<Self> {
        let bad = |reason: &str| Error::KeyFile {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let mut seed = [0; KEY_BYTES];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| bad("the system gives no random bytes"))?;
        let text = format!("{KEY_FILE} {}\n", BASE64.encode(seed));
        let key = Self::parse(&text).ok_or_else(|| bad("the new key is of no use"))?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| bad(&error.to_string()))?;
        Ok(key)
    }

    /// The key that others check signatures with.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; KEY_BYTES];
        // Both have the length of a key.
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(bytes)
    }

    /// Vouches for an entry.
    pub fn sign<T: Entry>(&self, entry: &T) -> Option<Signature> {
        let signature = self.0.sign(&message(entry)?);
        Some(Signature {
            key: self.public().to_string(),
            value: BASE64.encode(signature.as_ref()),
        })
    }
}

impl fmt::Debug for SigningKey {
    /// Shows the public half.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey")
            .field(&self.public().to_string())
            .finish()
    }
}

/// The public half of a signing key; printed as `ed25519:` and base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", BASE64.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = text
            .trim()
            .strip_prefix(SCHEME)
            .and_then(|key| BASE64.decode(key).ok())
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| {
            Error::Spec(format!(
                "{text:?} is no public key: {SCHEME} and base64, as `rbuild cache key` prints it"
            ))
        })
    }
}

/// Whose entries are believed.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The keys that are; none believes everything that lies in a place that was named.
    pub keys: Vec<PublicKey>,
    /// How old an entry may be; `None` is any age.
    pub max_age: Option<Duration>,
}

/// Why an entry is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// Nobody signed it.
    Unsigned,
    /// Somebody signed it who is not trusted.
    Stranger,
    /// The signature is not one over this entry.
    Forged,
    /// It was written for another scope.
    Scope,
    /// It is older than is allowed, or from the future.
    Age,
}

impl Doubt {
    /// What people are told of entries that were left out.
    pub fn text(self) -> &'static str {
        match self {
            Self::Unsigned => "not signed",
            Self::Stranger => "signed by a key that is not trusted",
            Self::Forged => "with a signature that does not fit",
            Self::Scope => "of another scope",
            Self::Age => "too old, or from the future",
        }
    }
}

/// How far clocks may be apart, in seconds.
pub(crate) const CLOCK_SKEW: u64 = 24 * 3600;

impl Trust {
    /// Whether entries need a signature.
    pub fn is_strict(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Looks at everything but the signature's arithmetic, which [`Trust::proves`] checks for what is used.
    pub fn doubt<T: Entry>(&self, line: &Signed<T>, scope: &str, now: u64) -> Option<Doubt> {
        if line.entry.scope() != scope {
            return Some(Doubt::Scope);
        }
        if let Some(max) = self.max_age {
            let created = line.entry.created();
            let too_old = now.saturating_sub(created) > max.as_secs();
            if too_old || created > now.saturating_add(CLOCK_SKEW) {
                return Some(Doubt::Age);
            }
        }
        if self.keys.is_empty() {
            return None;
        }
        match &line.signature {
            None => Some(Doubt::Unsigned),
            Some(signature) if self.key_of(signature).is_none() => Some(Doubt::Stranger),
            Some(_) => None,
        }
    }

    /// Whether the signature is one over the entry, where signatures are asked for.
    pub fn proves<T: Entry>(&self, line: &Signed<T>) -> bool {
        if self.keys.is_empty() {
            return true;
        }
        let Some(signature) = &line.signature else {
            return false;
        };
        let (Some(key), Ok(value)) = (self.key_of(signature), BASE64.decode(&signature.value))
        else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ED25519, key.0);
        message(&line.entry).is_some_and(|message| key.verify(&message, &value).is_ok())
    }

    fn key_of(&self, signature: &Signature) -> Option<PublicKey> {
        let key: PublicKey = signature.key.parse().ok()?;
        self.keys.contains(&key).then_some(key)
    }
}

/// What is signed; `None` for an entry that has no text, which there is not.
fn message<T: Entry>(entry: &T) -> Option<Vec<u8>> {
    let mut bytes = format!("rbuild cache {} 1\n", T::KIND).into_bytes();
    bytes.extend(entry.text().ok()?);
    Some(bytes)
}

#[cfg(test)]
mod tests;
