//! A lock as text: JSON, sorted, one fact in a line, so that differences read well.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use rbuild_oci::{Digest, Platform, Reference};
use rbuild_source::{CommitPin, FilePin, file_name};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Lock, LockProblem, LockedCommit, LockedFile, LockedImage, LockedPlace};
use crate::{BuildError, Result};

/// The version that is written, and the latest that is read.
const VERSION: u64 = 1;

/// What is wrong with an address that holds a password.
const SECRET: &str = "it holds what lets somebody in, which no lock does";

/// Only as much of a lock as tells its version.
#[derive(Deserialize)]
struct Head {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    version: u64,
    #[serde(
        default,
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    images: BTreeMap<String, Image>,
    #[serde(
        default,
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    files: BTreeMap<String, File>,
    #[serde(
        default,
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    git: BTreeMap<String, Commit>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(default, skip_serializing_if = "is_false")]
    indirect: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(
        default,
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    platforms: BTreeMap<String, Digest>,
    #[serde(
        default,
        deserialize_with = "unique",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    store: BTreeMap<String, Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, skip_serializing_if = "is_false")]
    indirect: bool,
    digest: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Commit {
    #[serde(default, skip_serializing_if = "is_false")]
    indirect: bool,
    commit: String,
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    full_ref: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it on so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Writes a lock.
pub(super) fn print(lock: &Lock) -> Result<String> {
    let printed = |platforms: &BTreeMap<Platform, Digest>| {
        let pairs = platforms.iter();
        pairs
            .map(|(platform, digest)| (platform.to_string(), digest.clone()))
            .collect()
    };
    let image = |image: &LockedImage| {
        let indirect = image.indirect;
        match &image.place {
            LockedPlace::Registry { root, platforms } => Image {
                indirect,
                digest: Some(root.clone()),
                platforms: printed(platforms),
                store: BTreeMap::new(),
            },
            LockedPlace::Store(platforms) => Image {
                indirect,
                digest: None,
                platforms: BTreeMap::new(),
                store: printed(platforms),
            },
        }
    };
    let file = |file: &LockedFile| File {
        indirect: file.indirect,
        digest: file.pin.blob.clone(),
        modified: file.pin.modified.and_then(printed_time),
    };
    let commit = |commit: &LockedCommit| Commit {
        indirect: commit.indirect,
        commit: commit.pin.commit.clone(),
        full_ref: commit.pin.full_ref.clone(),
        tag: commit.pin.tag.clone(),
    };
    let (images, files, commits) = (lock.images.iter(), lock.files.iter(), lock.commits.iter());
    let whole = Whole {
        version: VERSION,
        images: images
            .map(|(name, found)| (name.familiar(), image(found)))
            .collect(),
        files: files
            .map(|(name, found)| (name.clone(), file(found)))
            .collect(),
        git: commits
            .map(|(name, found)| (name.clone(), commit(found)))
            .collect(),
    };
    let text = serde_json::to_string_pretty(&whole).map_err(BuildError::encode)?;
    Ok(text + "\n")
}

fn printed_time(secs: i64) -> Option<String> {
    Timestamp::from_second(secs)
        .ok()
        .map(|time| time.to_string())
}

/// Reads a lock; `name` is what messages call the file.
///
/// Errors: with the line where that is known.
pub(super) fn parse(name: &str, text: &str) -> Result<Lock> {
    let file = name.to_owned();
    let syntax = |e: serde_json::Error| {
        let line = u32::try_from(e.line()).unwrap_or(0);
        let text = e.to_string();
        let place = format!(" at line {} column {}", e.line(), e.column());
        LockProblem::Syntax {
            file: file.clone(),
            reason: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
            line,
        }
    };
    let read = || {
        // A list would do for the reader of JSON, but is nothing that was ever written.
        if text.trim_start().starts_with('[') {
            return Err(LockProblem::Syntax {
                file: file.clone(),
                reason: "it is a list".to_owned(),
                line: 1,
            });
        }
        let head: Head = serde_json::from_str(text).map_err(syntax)?;
        if head.version != VERSION {
            return Err(LockProblem::Version {
                file: file.clone(),
                found: head.version,
                known: VERSION,
            });
        }
        let whole: Whole = serde_json::from_str(text).map_err(syntax)?;
        let wrong = |entry: String, reason: String| LockProblem::Entry {
            file: file.clone(),
            line: line_of(text, &entry),
            entry,
            reason,
        };
        let mut lock = Lock::default();
        for (entry, image) in whole.images {
            let (name, image) = read_image(&entry, image).map_err(|e| wrong(entry.clone(), e))?;
            if lock.images.insert(name, image).is_some() {
                return Err(wrong(entry, "this image is there twice".to_owned()));
            }
        }
        for (entry, file) in whole.files {
            let file = read_file(&entry, file).map_err(|e| wrong(entry.clone(), e))?;
            lock.files.insert(entry, file);
        }
        for (entry, commit) in whole.git {
            let commit = read_commit(&entry, commit).map_err(|e| wrong(entry.clone(), e))?;
            lock.commits.insert(entry, commit);
        }
        Ok(lock)
    };
    read().map_err(|problem| problem.in_text(text))
}

fn read_image(entry: &str, image: Image) -> Result<(Reference, LockedImage), String> {
    let name = Reference::parse(entry).map_err(|e| e.to_string())?;
    let by_platform = |map: BTreeMap<String, Digest>| {
        let mut platforms = BTreeMap::new();
        for (text, digest) in map {
            let platform = Platform::parse(&text)
                .map_err(|e| e.to_string())?
                .normalized();
            only_sha256(&digest)?;
            if platforms.insert(platform, digest).is_some() {
                return Err(format!("the platform {text} is there twice"));
            }
        }
        Ok(platforms)
    };
    let has_platforms = !image.platforms.is_empty();
    let place = match (image.digest, image.store.is_empty()) {
        (Some(root), true) if has_platforms => {
            only_sha256(&root)?;
            let platforms = by_platform(image.platforms)?;
            LockedPlace::Registry { root, platforms }
        }
        (None, false) if !has_platforms => LockedPlace::Store(by_platform(image.store)?),
        _ => return Err("it needs \"digest\" and \"platforms\", or \"store\" alone".to_owned()),
    };
    let indirect = image.indirect;
    Ok((name, LockedImage { place, indirect }))
}

fn read_file(entry: &str, file: File) -> Result<LockedFile, String> {
    if !entry.starts_with("http://") && !entry.starts_with("https://") {
        return Err("it is no address of a file".to_owned());
    }
    if file_name(entry) != entry {
        return Err(SECRET.to_owned());
    }
    only_sha256(&file.digest)?;
    let modified = match &file.modified {
        Some(text) => Some(
            text.parse::<Timestamp>()
                .map_err(|_| format!("{text:?} is no time"))?,
        ),
        None => None,
    };
    Ok(LockedFile {
        pin: FilePin {
            blob: file.digest,
            modified: modified.map(Timestamp::as_second),
        },
        indirect: file.indirect,
    })
}

fn read_commit(entry: &str, commit: Commit) -> Result<LockedCommit, String> {
    let pin = CommitPin {
        commit: commit.commit,
        tag: commit.tag,
        full_ref: commit.full_ref,
    };
    if file_name(entry) != entry {
        return Err(SECRET.to_owned());
    }
    if !pin.is_sound() {
        return Err(
            "it needs the full name of a commit, and \"ref\" and \"tag\" as git writes them"
                .to_owned(),
        );
    }
    Ok(LockedCommit {
        pin,
        indirect: commit.indirect,
    })
}

fn only_sha256(digest: &Digest) -> Result<(), String> {
    match digest.as_str().starts_with("sha256:") {
        true => Ok(()),
        false => Err(format!("{digest} is no sha256 digest")),
    }
}

/// The line that an entry begins in, from 1; 0 if it is written in another way.
fn line_of(text: &str, entry: &str) -> u32 {
    let key = serde_json::to_string(entry).unwrap_or_default();
    let begins = |line: &str| {
        let rest = line.trim_start().strip_prefix(&key);
        rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    let found = text.lines().position(begins);
    found.and_then(|at| u32::try_from(at + 1).ok()).unwrap_or(0)
}

/// Reads a map in which nothing is there twice: of two, neither is more right.
fn unique<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, V>, D::Error> {
    struct Unique<V>(PhantomData<V>);
    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("entries by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                if found.contains_key(&name) {
                    return Err(A::Error::custom(format!("the entry {name} is there twice")));
                }
                let value = map.next_value()?;
                found.insert(name, value);
            }
            Ok(found)
        }
    }
    deserializer.deserialize_map(Unique(PhantomData))
}

#[cfg(test)]
mod tests;
