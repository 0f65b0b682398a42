//! `rbuild build`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rbuild::oci::Reference;
use rbuild::{ErrorKind, Export, ExportSpec, Outcome};
use serde_json::{Map, Value, json};

use super::images::short;
use super::shown::{mode, shown};
use super::{CommandError, CommandResult, StoreWishes, call, load_into, open_with, print, request};
use crate::args::{BuildArgs, CallMethod, ProgressArg, ResultArgs};
use crate::exit::Exit;
use crate::render::{Mode, Work, failed_steps, warnings};
use crate::signal;
use crate::style::{Look, Role};

/// What stands before an engine's message, as BuildKit's client has it.
pub const FAILED: &str = "failed to solve: ";

/// Builds, shows how, and hands out the result.
pub fn run(mut args: BuildArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let mode = mode(args.results.progress, args.results.quiet);
    let report = Report::take(&mut args.results);
    let notes = notes(&args);
    let asked = args.call.call();
    let network = args.network;
    let wishes = StoreWishes::of(&mut args);
    let request = request::request(args, &cancel)?;
    if asked.method != CallMethod::Build {
        return call::run(asked, &request, (root, network, wishes), &cancel);
    }
    if network.offline && request.outputs.iter().any(is_pushed) {
        let message = "a push asks a registry, and --offline none: build without the push, and \
                       `rbuild push NAME` once there is a network";
        return Err(CommandError::Usage(message.to_owned()));
    }
    report.check()?;
    let engine = open_with(root, network, wishes)?;
    if matches!(mode, Mode::Tty | Mode::Plain) {
        io::stderr().write_all(notes.as_bytes()).ok();
    }
    let (result, trace) = shown((mode, Work::Build), |sink| {
        engine.build(&request, sink, &cancel)
    })?;
    let look = Look::of(&io::stderr());
    if mode != Mode::RawJson {
        io::stderr()
            .write_all(&failed_steps(&trace, mode, look))
            .ok();
    }
    if matches!(mode, Mode::Tty | Mode::Plain) {
        io::stderr()
            .write_all(warnings(&trace, look).as_bytes())
            .ok();
    }
    match result {
        Ok(outcome) => {
            if mode == Mode::Tty {
                io::stderr().write_all(built(&outcome).as_bytes()).ok();
            }
            if matches!(mode, Mode::Tty | Mode::Plain) {
                let lines: String = outcome.loaded.iter().map(load_into::lines).collect();
                io::stderr().write_all(lines.as_bytes()).ok();
            }
            report.deliver(&outcome)
        }
        // Nothing was tried if the request makes no sense.
        Err(error) if error.kind() == ErrorKind::Usage => Ok(CommandError::Engine(error).show("")),
        Err(error) => Ok(CommandError::Engine(error).show(FAILED)),
    }
}

fn is_pushed(spec: &ExportSpec) -> bool {
    matches!(&spec.export, Export::Image(image) if image.push)
}

/// Says what came out, which the steps on a terminal do not show.
fn built(outcome: &Outcome) -> String {
    let id = outcome.image_id.as_ref().map(short);
    let names: Vec<String> = outcome.names.iter().map(Reference::familiar).collect();
    match (id, names.is_empty()) {
        (None, _) => String::new(),
        (Some(id), true) => format!("Built {id}\n"),
        (Some(id), false) => format!("Built {} ({id})\n", names.join(", ")),
    }
}

/// Says which options have no effect.
fn notes(args: &BuildArgs) -> String {
    let mut notes = args.foreign.notes.clone();
    for output in &args.results.outputs {
        notes.extend(rbuild::idle_attributes(output));
    }
    let has_manifest = |spec: &ExportSpec| match &spec.export {
        Export::Image(_) => is_pushed(spec),
        export => export.is_image(),
    };
    let results = &args.results;
    let is_annotated = results.push || results.outputs.iter().any(has_manifest);
    if !results.annotations.is_empty() && !is_annotated {
        let note = "--annotation is ignored: only a push and outputs like type=oci have a manifest";
        notes.push(note.to_owned());
    }
    let label = Look::of(&io::stderr()).paint(Role::Warning, "WARNING:");
    let line = |note| format!("{label} {note}\n");
    notes.into_iter().map(line).collect()
}

/// Where the identity of the result is to be told.
struct Report {
    tells_id: bool,
    iidfile: Option<std::path::PathBuf>,
    metadata_file: Option<std::path::PathBuf>,
}

impl Report {
    fn take(args: &mut ResultArgs) -> Self {
        // An archive on standard output is no place for an id.
        let is_taken = args.outputs.iter().any(|spec| spec.export.uses_stdout());
        let is_quiet = args.quiet || args.progress == ProgressArg::Quiet;
        Self {
            tells_id: is_quiet && !is_taken,
            iidfile: args.iidfile.take(),
            metadata_file: args.metadata_file.take(),
        }
    }

    /// Refuses files that cannot be written, and removes an id that would be wrong if the build fails.
    fn check(&self) -> Result<(), CommandError> {
        for path in self.iidfile.iter().chain(&self.metadata_file) {
            let writable = match path.is_file() {
                true => fs::OpenOptions::new().append(true).open(path).map(drop),
                false => rbuild::check_file_place(path),
            };
            writable.map_err(|error| {
                CommandError::Usage(format!("failed to open {}: {error}", path.display()))
            })?;
        }
        match &self.iidfile {
            // Its folder may be closed where the file is not.
            Some(path) if path.is_file() && fs::remove_file(path).is_err() => write_file(path, &[]),
            _ => Ok(()),
        }
    }

    fn deliver(&self, outcome: &Outcome) -> CommandResult {
        if let Some(path) = &self.iidfile {
            let id = outcome.image_id.as_ref().map(ToString::to_string);
            write_file(path, id.unwrap_or_default().as_bytes())?;
        }
        if let Some(path) = &self.metadata_file {
            let text = format!("{:#}\n", metadata(outcome));
            write_file(path, text.as_bytes())?;
        }
        match &outcome.image_id {
            Some(id) if self.tells_id => print(&format!("{id}\n")),
            _ => Ok(Exit::Success),
        }
    }
}

pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    fs::write(path, bytes).map_err(|error| {
        let place = format!("write {}", path.display());
        anyhow::Error::from(error).context(place).into()
    })
}

/// The fields that `docker buildx build` writes, those that exist here.
fn metadata(outcome: &Outcome) -> Value {
    let mut fields = Map::new();
    if let Some(config) = &outcome.config {
        fields.insert("containerimage.config.digest".to_owned(), json!(config));
    }
    if let Some(descriptor) = &outcome.descriptor {
        fields.insert("containerimage.descriptor".to_owned(), json!(descriptor));
    }
    // The store keeps no manifest: there the id names the image, as in Docker's own store.
    let manifest = outcome.descriptor.as_ref().map(|found| &found.digest);
    if let Some(digest) = manifest.or(outcome.image_id.as_ref()) {
        fields.insert("containerimage.digest".to_owned(), json!(digest));
    }
    if !outcome.names.is_empty() {
        let names: Vec<String> = outcome.names.iter().map(ToString::to_string).collect();
        fields.insert("image.name".to_owned(), json!(names.join(",")));
    }
    fields.into()
}
