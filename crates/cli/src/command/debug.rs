//! `rbuild debug`.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use rbuild::progress::NullSink;

use super::{CommandError, CommandResult, StoreWishes, open_with, print, request};
use crate::args::{DebugCommand, GraphArgs, ParseArgs};
use crate::exit::Exit;
use crate::signal;

/// Looks into a definition.
pub fn run(command: DebugCommand, root: Option<&Path>) -> CommandResult {
    match command {
        DebugCommand::Parse(args) => parse(&args),
        DebugCommand::Graph(args) => graph(*args, root),
    }
}

/// Prints how each file is read, one JSON object a line; a file with errors is no failure.
fn parse(args: &ParseArgs) -> CommandResult {
    for path in &args.files {
        let text = read(path)?;
        let line = rbuild::parse_json(&path.to_string_lossy(), &text);
        print(&format!("{line}\n"))?;
    }
    Ok(Exit::Success)
}

fn graph(mut args: GraphArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let network = args.build.network;
    let wishes = StoreWishes::of(&mut args.build);
    let request = request::request(args.build, &cancel)?;
    match open_with(root, network, wishes)?.graph_dot(&request, &NullSink, &cancel) {
        Ok(dot) => print(&dot),
        Err(error) => Ok(CommandError::Engine(error).show(super::build::FAILED)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let result = if path == Path::new("-") {
        let mut text = Vec::new();
        io::stdin().lock().read_to_end(&mut text).map(|_| text)
    } else {
        fs::read(path)
    };
    result.map_err(|error| {
        let place = format!("read {}", path.display());
        anyhow::Error::from(error).context(place).into()
    })
}
