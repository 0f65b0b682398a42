//! `rbuild load-into`.

use std::path::Path;

use rbuild::progress::NullSink;
use rbuild::{ContainerEngine, LoadWay, LoadedInto};

use super::{CommandResult, open, print};
use crate::args::{EngineArg, LoadIntoArgs};
use crate::exit::Exit;
use crate::render::{bytes, clean};
use crate::signal;

/// Brings images of the store into an engine, one after the other, and says so.
pub fn run(args: &LoadIntoArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let engine = open(root)?;
    let into = match args.engine {
        EngineArg::Docker => ContainerEngine::Docker,
        EngineArg::Podman => ContainerEngine::Podman,
    };
    for image in &args.images {
        let loaded = engine.load_into(into, image, &NullSink, &cancel)?;
        print(&lines(&loaded))?;
    }
    Ok(Exit::Success)
}

/// A line for each name, in the words of `docker load`, with how it came there.
pub fn lines(loaded: &LoadedInto) -> String {
    let how = how(loaded);
    if loaded.names.is_empty() {
        return format!("Loaded image ID: {} ({how})\n", loaded.id);
    }
    let names = loaded.names.iter().map(|name| name.familiar());
    names
        .map(|name| format!("Loaded image: {name} ({how})\n"))
        .collect()
}

fn how(loaded: &LoadedInto) -> String {
    let engine = match loaded.engine {
        ContainerEngine::Docker => "docker",
        ContainerEngine::Podman => "podman",
    };
    match &loaded.way {
        LoadWay::Present => format!("{engine} has it already"),
        LoadWay::Pulled { blob_bytes } => format!("{engine} pulled {}", bytes(*blob_bytes)),
        LoadWay::Archive { bytes: all, reason } => {
            format!("{engine} got all of {}: {}", bytes(*all), clean(reason))
        }
    }
}
