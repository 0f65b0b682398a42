//! The commands about images in the store.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rbuild::oci::{Address, Reference};

use super::build::ProgressArg;
use super::value::{self, PlatformArg};

/// Options of `rbuild images`.
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Show only images of this name, where * stands for any characters, as --filter reference=NAME
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Show all images, as is done anyway
    #[arg(short, long, hide = true)]
    pub all: bool,

    /// Show only these, as reference=PATTERN; repeatable
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = reference_filter)]
    pub filters: Vec<String>,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: TableFormat,

    /// Print only ids
    #[arg(short, long)]
    pub quiet: bool,

    /// Print digests of manifests too
    #[arg(long)]
    pub digests: bool,

    /// Print ids in full
    #[arg(long)]
    pub no_trunc: bool,
}

/// How a table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// For people
    Table,
    /// One JSON object a line
    Json,
}

/// Options of `rbuild inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Which image of several platforms
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = value::platform)]
    pub platform: Option<PlatformArg>,

    /// Names, ids, beginnings of ids, or addresses
    #[arg(required = true, value_name = "IMAGE", value_parser = value::address)]
    pub images: Vec<Address>,
}

/// Options of `rbuild history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Which image of several platforms [default: that of this machine]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = value::platform)]
    pub platform: Option<PlatformArg>,

    /// Name, id, beginning of an id, or address
    #[arg(value_name = "IMAGE", value_parser = value::address)]
    pub image: Address,

    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: TableFormat,

    /// Print steps in full
    #[arg(long)]
    pub no_trunc: bool,
}

/// Options of `rbuild tag`.
#[derive(Debug, Args)]
pub struct TagArgs {
    /// Which images of several platforms; repeatable, or a comma-separated list [default: all; of a
    /// registry that of this machine]
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ',',
        value_parser = value::platform
    )]
    pub platforms: Vec<PlatformArg>,

    /// Name, id, beginning of an id, or address
    #[arg(value_name = "IMAGE", value_parser = value::address)]
    pub image: Address,

    /// The further name
    #[arg(value_name = "NAME", value_parser = value::reference)]
    pub name: Reference,
}

/// Options of `rbuild rmi`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<String>,

    /// Remove an image by id even if it has several names; missing ones are no failure
    #[arg(short, long)]
    pub force: bool,
}

/// Options of `rbuild push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Names of images in the store, as NAME[:TAG]; each goes to the registry that it names
    #[arg(value_name = "NAME", value_parser = value::reference)]
    pub names: Vec<Reference>,

    /// Go on with pushes that were begun and not ended, of builds too; of all, or of these names
    #[arg(long)]
    pub resume: bool,

    /// Forget pushes that were begun and not ended, all or those of these names, and send nothing
    #[arg(long, conflicts_with = "resume")]
    pub forget: bool,

    /// How to show progress
    #[arg(
        long,
        value_name = "MODE",
        env = "BUILDKIT_PROGRESS",
        hide_env = true,
        default_value = "auto"
    )]
    pub progress: ProgressArg,

    /// Show nothing
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `rbuild save`.
#[derive(Debug, Args)]
pub struct SaveArgs {
    /// Names, ids, beginnings of ids, or addresses
    #[arg(required = true, value_name = "IMAGE", value_parser = value::address)]
    pub images: Vec<Address>,

    /// File to write, or oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME]
    /// [default: standard output, unless that is a terminal]
    #[arg(short, long, value_name = "FILE", value_parser = value::address)]
    pub output: Option<Address>,

    /// Which images of several platforms; repeatable, or a comma-separated list
    /// [default: all in an OCI archive, that of this machine in one for Docker]
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ',',
        value_parser = value::platform
    )]
    pub platforms: Vec<PlatformArg>,

    /// Kind of archive, where --output does not say it
    #[arg(long, value_name = "FORMAT", default_value = "docker")]
    pub format: SaveFormat,
}

/// Options of `rbuild load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// File to read, or oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME]
    /// [default: standard input, unless that is a terminal]
    #[arg(short, long, value_name = "FILE", value_parser = value::address)]
    pub input: Option<Address>,

    /// Which images of several platforms; repeatable, or a comma-separated list [default: all]
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ',',
        value_parser = value::platform
    )]
    pub platforms: Vec<PlatformArg>,

    /// Print only ids
    #[arg(short, long)]
    pub quiet: bool,
}

/// Options of `rbuild export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// File to write [default: standard output, unless that is a terminal]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Which image of several platforms [default: that of this machine]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = value::platform)]
    pub platform: Option<PlatformArg>,

    /// Name, id, beginning of an id, or address
    #[arg(value_name = "IMAGE", value_parser = value::address)]
    pub image: Address,
}

/// Kind of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SaveFormat {
    /// OCI layout
    Oci,
    /// For `docker load`, and an OCI layout as well
    Docker,
}

/// Options of `rbuild load-into`.
#[derive(Debug, Args)]
pub struct LoadIntoArgs {
    /// The engine
    #[arg(value_name = "ENGINE")]
    pub engine: EngineArg,

    /// Names, ids, beginnings of ids, or addresses
    #[arg(required = true, value_name = "IMAGE", value_parser = value::address)]
    pub images: Vec<Address>,
}

/// A container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// The engine that `docker` speaks to
    Docker,
    /// Podman's storage of this user
    Podman,
}

/// Options of `rbuild import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Name to give the image
    #[arg(value_name = "NAME", value_parser = value::reference)]
    pub name: Reference,

    /// Archive of images, OCI layout directory, tar of a root file system, an address, or `-` for standard
    /// input
    #[arg(value_name = "FILE", value_parser = value::address)]
    pub file: Address,

    /// Which images of several platforms, or what a root file system is for; repeatable, or a
    /// comma-separated list [default: all]
    #[arg(
        long = "platform",
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ',',
        value_parser = value::platform
    )]
    pub platforms: Vec<PlatformArg>,
}

/// Reads `reference=PATTERN`.
fn reference_filter(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("reference", pattern)) if !pattern.is_empty() => Ok(pattern.to_owned()),
        _ => Err(format!("filter `{text}` is not reference=PATTERN")),
    }
}
