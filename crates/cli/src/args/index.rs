//! `rbuild index`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand, ValueEnum};
use rbuild::oci::{Address, Reference};
use rbuild::{Annotation, AnnotationPlace};

use super::annotation::annotations;
use super::value::{self, PlatformArg, switch};

/// `rbuild index`.
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Put images that exist already under one name, as an index
    Create(IndexCreateArgs),
    /// Show what a name stands for
    Inspect(IndexInspectArgs),
    /// Add annotations to an index in its registry
    Annotate(IndexAnnotateArgs),
}

/// Options of `rbuild index create`.
#[derive(Debug, Args)]
pub struct IndexCreateArgs {
    /// Name of the index, as REGISTRY/NAME[:TAG]; repeatable
    #[arg(short, long = "tag", value_name = "NAME", value_parser = value::reference)]
    pub tags: Vec<Reference>,

    /// Add to the index that has the name; a platform that it has gets the new image
    #[arg(long)]
    pub append: bool,

    /// Print the index instead of sending it
    #[arg(long)]
    pub dry_run: bool,

    /// Annotation, as [index|manifest-descriptor[PLATFORM]:]KEY=VALUE [default: of the index]; repeatable
    #[arg(long = "annotation", value_name = "ANNOTATION", value_parser = index_annotations)]
    pub annotations: Vec<IndexAnnotations>,

    /// File with a descriptor, or a metadata file of a build, as a further source; repeatable
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Take only these platforms; repeatable, or a comma-separated list
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ',',
        value_parser = value::platform
    )]
    pub platforms: Vec<PlatformArg>,

    /// Put a single image under an index rather than copy it
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = switch,
        action = ArgAction::Set,
        default_value = "true",
        default_missing_value = "true"
    )]
    pub prefer_index: bool,

    /// Write what was made to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,

    /// Images or indexes: names in their registries or else in the store, or addresses
    #[arg(value_name = "SOURCE", value_parser = value::address)]
    pub sources: Vec<Address>,
}

/// Options of `rbuild index inspect`.
#[derive(Debug, Args)]
pub struct IndexInspectArgs {
    /// Print the document as it is
    #[arg(long, conflicts_with = "format")]
    pub raw: bool,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: IndexFormat,

    /// Name in its registry or else in the store, or an address
    #[arg(value_name = "NAME", value_parser = value::address)]
    pub name: Address,
}

/// How an index is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IndexFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// Options of `rbuild index annotate`.
#[derive(Debug, Args)]
pub struct IndexAnnotateArgs {
    /// Annotation, as [index|manifest-descriptor[PLATFORM]:]KEY=VALUE [default: of the index]; repeatable
    #[arg(
        long = "annotation",
        required = true,
        value_name = "ANNOTATION",
        value_parser = index_annotations
    )]
    pub annotations: Vec<IndexAnnotations>,

    /// Name of the index, as REGISTRY/NAME[:TAG]
    #[arg(value_name = "NAME", value_parser = value::reference)]
    pub name: Reference,
}

/// The annotations of one option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexAnnotations(pub Vec<Annotation>);

/// Reads `[PLACE[,PLACE…][[PLATFORM]]:]KEY=VALUE`; without a place it is the index. What is in a manifest
/// cannot be changed without making another one of it.
fn index_annotations(text: &str) -> Result<IndexAnnotations, String> {
    let mut all = annotations(text)?.0;
    let says_manifest = ["manifest:", "manifest[", "manifest,"]
        .iter()
        .any(|head| text.starts_with(head));
    for annotation in &mut all {
        if annotation.place == AnnotationPlace::Manifest && !says_manifest {
            annotation.place = AnnotationPlace::Index;
        }
        if !matches!(
            annotation.place,
            AnnotationPlace::Index | AnnotationPlace::ManifestDescriptor
        ) {
            return Err(format!(
                "annotation `{text}`: places in an index over images that exist are index and \
                 manifest-descriptor"
            ));
        }
    }
    Ok(IndexAnnotations(all))
}
