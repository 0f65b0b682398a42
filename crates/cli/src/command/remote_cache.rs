//! `rbuild cache`, and what the command line says of caches elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild::{CacheRequest, PublicKey, SigningKey, Trust, Writer};

use super::{CommandError, CommandResult, print, variable};
use crate::args::{CacheCommand, RemoteCacheArgs};
use crate::exit::Exit;

/// The variable with the file of the signing key.
const KEY: &str = "RBUILD_CACHE_KEY";
/// The variable with trusted keys, separated by blanks or commas.
const TRUST: &str = "RBUILD_CACHE_TRUST";
/// The variable with what this machine or job is called in what it writes.
const WRITER: &str = "RBUILD_CACHE_WRITER";

/// Carries out `rbuild cache`.
pub fn run(command: CacheCommand) -> CommandResult {
    match command {
        CacheCommand::Key(args) => key(&args.file),
    }
}

fn key(file: &Path) -> CommandResult {
    let key = match file.exists() {
        true => SigningKey::read(file),
        false => SigningKey::create(file),
    };
    let key = key.map_err(usage)?;
    print(&format!("{}\n", key.public()))?;
    Ok(Exit::Success)
}

/// What the options ask for, with what the environment adds.
pub fn request(args: RemoteCacheArgs) -> Result<CacheRequest, CommandError> {
    let key = args.cache_key.or_else(|| variable(KEY).map(PathBuf::from));
    let key = key.map(|file| SigningKey::read(&file).map(Arc::new));
    let mut trusted = args.cache_trust;
    if trusted.is_empty() {
        let words = variable(TRUST).unwrap_or_default();
        let words = words
            .split([' ', ',', '\n'])
            .filter(|word| !word.is_empty());
        trusted = words.map(str::to_owned).collect();
    }
    let mut keys = Vec::new();
    for word in &trusted {
        keys.extend(public_keys(word)?);
    }
    Ok(CacheRequest {
        from: args.cache_from,
        to: args.cache_to,
        trust: Trust {
            keys,
            max_age: args.cache_max_age,
        },
        writer: Writer {
            name: variable(WRITER).unwrap_or_else(writer),
            key: key.transpose().map_err(usage)?,
        },
        budget: args.cache_budget,
    })
}

/// A key as it is printed, or the keys in a file, one on a line.
fn public_keys(word: &str) -> Result<Vec<PublicKey>, CommandError> {
    if let Ok(key) = word.parse() {
        return Ok(vec![key]);
    }
    let text = std::fs::read_to_string(word).map_err(|error| {
        CommandError::Usage(format!(
            "--cache-trust {word}: it is no public key, and no file that can be read: {error}"
        ))
    })?;
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<PublicKey>, _> = lines.map(str::parse).collect();
    let keys =
        keys.map_err(|error| CommandError::Usage(format!("--cache-trust {word}: {error}")))?;
    if keys.is_empty() {
        let message = format!("--cache-trust {word}: there is no key in it");
        return Err(CommandError::Usage(message));
    }
    Ok(keys)
}

/// User and machine, as far as they are known.
fn writer() -> String {
    let user = variable("USER").unwrap_or_else(|| "unknown".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

fn usage(error: rbuild::CacheError) -> CommandError {
    CommandError::Usage(error.to_string())
}
