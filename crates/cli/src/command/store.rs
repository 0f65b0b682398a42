//! `rbuild store`.

use std::path::Path;

use rbuild::{Engine, EngineConfig};

use super::{CommandError, CommandResult, open, print};
use crate::args::StoreCommand;
use crate::exit::Exit;
use crate::render::{bytes, clean};
use crate::signal;

/// Looks after the store.
pub fn run(command: &StoreCommand, root: Option<&Path>) -> CommandResult {
    match command {
        StoreCommand::Path => print(&format!("{}\n", super::root_dir(root)?.display())),
        StoreCommand::Verify => verify(root),
        StoreCommand::Seal { dir } => seal(dir.as_deref().or(root)),
        StoreCommand::Unseal { dir } => {
            Engine::unseal_store(&super::root_dir(dir.as_deref().or(root))?)?;
            Ok(Exit::Success)
        }
        // Without --yes the arguments are refused.
        StoreCommand::Delete { .. } => delete(root),
    }
}

/// Finishes the store, which must be there.
fn seal(root: Option<&Path>) -> CommandResult {
    let root = super::root_dir(root)?;
    if !root.join("format").exists() {
        let message = format!("there is no store at {}", root.display());
        return Err(CommandError::Usage(message));
    }
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    // Of its own: what it would take from elsewhere is not in it.
    Engine::open(EngineConfig::new(root))?.seal_store(&cancel)?;
    Ok(Exit::Success)
}

/// Deletes the store, if there is one.
fn delete(root: Option<&Path>) -> CommandResult {
    if super::root_dir(root)?.exists() {
        open(root)?.delete_store()?;
    }
    Ok(Exit::Success)
}

/// Prints what does not agree with its digest, a line each, and fails if there is any.
fn verify(root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let found = open(root)?.verify(&cancel)?;
    for fault in &found.faults {
        print(&format!("{}\n", clean(fault)))?;
    }
    let size = bytes(found.bytes);
    print(&format!(
        "{} blobs and {} trees, {size}: {} faults\n",
        found.blobs,
        found.trees,
        found.faults.len()
    ))?;
    Ok(if found.faults.is_empty() {
        Exit::Success
    } else {
        Exit::Failed
    })
}
