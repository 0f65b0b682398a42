//! `rbuild index`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rbuild::oci::{Address, Descriptor, Reference};
use rbuild::progress::NullSink;
use rbuild::{Annotation, IndexMade, IndexRequest, IndexSource, InspectedIndex, Single, Standing};
use serde_json::{Value, json};

use super::build::write_file;
use super::{CommandError, CommandResult, open, platforms, print};
use crate::args::{
    IndexAnnotateArgs, IndexAnnotations, IndexCommand, IndexCreateArgs, IndexFormat,
    IndexInspectArgs,
};
use crate::render::clean;
use crate::signal;
use crate::style::{Look, Role};

/// Longest file with a descriptor, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Does what is asked for with indexes.
pub fn run(command: IndexCommand, root: Option<&Path>) -> CommandResult {
    match command {
        IndexCommand::Create(args) => create(args, root),
        IndexCommand::Inspect(args) => inspect(&args, root),
        IndexCommand::Annotate(args) => annotate(args, root),
    }
}

fn create(args: IndexCreateArgs, root: Option<&Path>) -> CommandResult {
    if args.tags.is_empty() && !args.dry_run {
        let message =
            "an index is sent under a name: give one with --tag, or look at it with --dry-run";
        return Err(CommandError::Usage(message.to_owned()));
    }
    let mut sources: Vec<IndexSource> = Vec::new();
    for file in &args.files {
        sources.push(from_file(file)?);
    }
    sources.extend(args.sources.into_iter().map(IndexSource::Address));
    if sources.is_empty() && !args.append {
        return Err(CommandError::Usage("no source is named".to_owned()));
    }
    let request = IndexRequest {
        names: args.tags,
        sources,
        standing: match args.append {
            true => Standing::Extended,
            false => Standing::Replaced,
        },
        single: match args.prefer_index {
            true => Single::Indexed,
            false => Single::Copied,
        },
        platforms: platforms(&args.platforms),
        annotations: flat(args.annotations),
    };
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let engine = open(root)?;
    if args.dry_run {
        let planned = engine.plan_index(&request, (&NullSink, &cancel))?;
        return print(&format!("{}\n", text(&planned.bytes)));
    }
    let made = engine.create_index(&request, (&NullSink, &cancel))?;
    if let Some(path) = &args.metadata_file {
        write_file(path, format!("{:#}\n", metadata(&made)).as_bytes())?;
    }
    told(&made)
}

fn annotate(args: IndexAnnotateArgs, root: Option<&Path>) -> CommandResult {
    let request = IndexRequest {
        names: vec![args.name],
        sources: Vec::new(),
        standing: Standing::Extended,
        single: Single::Indexed,
        platforms: Vec::new(),
        annotations: flat(args.annotations),
    };
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    told(&open(root)?.create_index(&request, (&NullSink, &cancel))?)
}

fn flat(annotations: Vec<IndexAnnotations>) -> Vec<Annotation> {
    annotations.into_iter().flat_map(|given| given.0).collect()
}

/// Prints each name with the digest that it stands for now.
fn told(made: &IndexMade) -> CommandResult {
    let line = |name: &Reference| format!("{}@{}\n", name.familiar(), made.descriptor.digest);
    print(&made.names.iter().map(line).collect::<String>())
}

/// The fields that `docker buildx imagetools create` writes.
fn metadata(made: &IndexMade) -> Value {
    let names: Vec<String> = made.names.iter().map(ToString::to_string).collect();
    json!({
        "containerimage.descriptor": made.descriptor,
        "containerimage.digest": made.descriptor.digest,
        "image.name": names.join(","),
    })
}

/// A source in a file: a descriptor, or what a build wrote with `--metadata-file`.
fn from_file(path: &Path) -> Result<IndexSource, CommandError> {
    let fail = |reason: String| {
        CommandError::Usage(format!(
            "read a descriptor from {}: {reason}",
            path.display()
        ))
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fail(error.to_string()))?;
    file.take(FILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(error.to_string()))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
    let (descriptor, name) = match value.get("containerimage.descriptor") {
        Some(descriptor) => (descriptor.clone(), value.get("image.name")),
        None => (value.clone(), None),
    };
    let descriptor: Descriptor = serde_json::from_value(descriptor)
        .map_err(|_| fail("it has no descriptor with mediaType, digest and size".to_owned()))?;
    let name = name.and_then(Value::as_str);
    let name = name.and_then(|names| names.split(',').next());
    let repository = name.map(|name| Reference::parse(name).map_err(|e| fail(e.to_string())));
    Ok(IndexSource::Descriptor {
        descriptor: Box::new(descriptor),
        repository: repository.transpose()?,
    })
}

fn inspect(args: &IndexInspectArgs, root: Option<&Path>) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let found = open(root)?.inspect_index(&args.name, (&NullSink, &cancel))?;
    if found.is_local && matches!(args.name, Address::Name(_)) {
        let label = Look::of(&io::stderr()).paint(Role::Warning, "WARNING:");
        let name = clean(&args.name.to_string());
        let line = format!(
            "{label} this is what the store has as {name}: its registry lacks it, or was not reached; \
             docker://{name} asks there only\n"
        );
        io::stderr().write_all(line.as_bytes()).ok();
    }
    if args.raw {
        return print(&text(&found.bytes));
    }
    let name = match &found.name {
        Some(name) if !found.is_local => name.to_string(),
        // An id, perhaps.
        _ => args.name.to_string(),
    };
    match args.format {
        IndexFormat::Json => print(&format!("{:#}\n", record(&name, &found))),
        IndexFormat::Text => print(&described(&name, &found)),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn record(name: &str, found: &InspectedIndex) -> Value {
    let mut manifest: Value = serde_json::from_slice(&found.bytes).unwrap_or(Value::Null);
    if let Some(fields) = manifest.as_object_mut() {
        let about = &found.descriptor;
        fields.insert("mediaType".to_owned(), json!(about.media_type));
        fields.insert("digest".to_owned(), json!(about.digest));
        fields.insert("size".to_owned(), json!(about.size));
    }
    json!({ "name": name, "manifest": manifest })
}

/// In the form of `docker buildx imagetools inspect`.
fn described(name: &str, found: &InspectedIndex) -> String {
    let Descriptor {
        media_type, digest, ..
    } = &found.descriptor;
    let mut out = format!("Name:      {name}\nMediaType: {media_type}\nDigest:    {digest}\n");
    if !found.descriptor.kind().is_index() {
        return out;
    }
    out.push_str("\nManifests:\n");
    let repository = found.name.as_ref().map_or(name.to_owned(), Reference::name);
    for entry in &found.entries {
        out.push_str(&format!("  Name:        {repository}@{}\n", entry.digest));
        out.push_str(&format!("  MediaType:   {}\n", entry.media_type));
        if let Some(platform) = &entry.platform {
            out.push_str(&format!("  Platform:    {platform}\n"));
        }
        for (at, (key, value)) in entry.annotations.iter().enumerate() {
            let title = if at == 0 {
                "Annotations:"
            } else {
                "            "
            };
            out.push_str(&format!("  {title} {}: {}\n", clean(key), clean(value)));
        }
        out.push('\n');
    }
    out
}
