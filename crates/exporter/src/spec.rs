//! What an output is: its kind, where it goes, and how the image in it is to look.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use rbuild_layer::Compression;
use rbuild_oci::{Platform, Reference};

use crate::place::{check_dir_place, check_file_place};
use crate::{Error, Result};

/// One output of a build, as asked for on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSpec {
    /// Kind and place.
    pub export: Export,
    /// How an image in it looks; unused by `local` and `tar`.
    pub image: ImageOptions,
    /// Time given to the files of `local` and `tar`, in seconds since 1970; `None` keeps their own.
    pub epoch: Option<i64>,
    /// Attributes that have no meaning here, by lower-case key; BuildKit ignores such too.
    pub other: BTreeMap<String, String>,
}

/// Kind and place of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    /// `type=oci`: an OCI image layout in one tar.
    OciArchive {
        /// Where it goes.
        dest: Dest,
    },
    /// `type=oci,tar=false`: an OCI image layout as a directory.
    OciDir {
        /// The directory; an image layout there is added to.
        dest: PathBuf,
    },
    /// `type=docker`: a tar for `docker load`.
    DockerArchive {
        /// Where it goes.
        dest: Dest,
    },
    /// `type=docker,tar=false`: what that tar holds, as a directory.
    DockerDir {
        /// The directory.
        dest: PathBuf,
    },
    /// `type=local`: the final file system as plain files.
    Local {
        /// The directory; files there that the result lacks stay unless `stale` says otherwise.
        dest: PathBuf,
        /// What happens to other files in it.
        stale: Stale,
        /// Whether each platform gets its own directory; by default if there are several.
        split: Option<bool>,
    },
    /// `type=tar`: the final file system as one tar.
    Tar {
        /// Where it goes.
        dest: Dest,
        /// Whether each platform gets its own directory; by default if there are several.
        split: Option<bool>,
    },
    /// `type=image` and `type=registry`: kept in the store under its names, and perhaps pushed.
    Image(ImageOutput),
    /// `type=cacheonly`: nothing but the cache.
    CacheOnly,
}

/// What happens to an image that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOutput {
    /// Whether to send it to the registries its names point to.
    pub push: bool,
    /// Whether to push without tags.
    pub push_by_digest: bool,
    /// Whether the registry may be spoken to without TLS.
    pub insecure: bool,
    /// Whether the store keeps it.
    pub keep: Keep,
    /// A repository in which it is named by its digest.
    pub dangling: Option<Dangling>,
}

/// Whether the store keeps an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// It does.
    #[default]
    Kept,
    /// `store=false`: only its layers, as the cache that they are.
    Dropped,
}

/// A name made of a repository and the image's digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dangling {
    /// The repository; its tag does not matter.
    pub repository: Reference,
    /// Whether it is used only where there is no other name.
    pub only_alone: bool,
}

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dest {
    /// Standard output.
    Stdout,
    /// A file, replaced as a whole.
    File(PathBuf),
    /// The container engine of this machine: `type=docker` without `dest`. The caller carries it there.
    Engine,
}

/// What `type=local` does with files that are in its directory but not in the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stale {
    /// Leave them.
    #[default]
    Keep,
    /// Remove them.
    Delete,
}

/// How an image looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// Names given with the output itself; they replace those of the build.
    pub names: Vec<Reference>,
    /// Form of layers made here. `None` means gzip.
    pub compression: Option<Compression>,
    /// Whether layers that came compressed in another way are compressed again.
    pub force_compression: bool,
    /// Whether files of new layers get no later time than the build's epoch. The caller makes such
    /// layers; nothing is rewritten here.
    pub rewrite_timestamp: bool,
    /// What becomes of layers that may not be distributed.
    pub nondistributable: NonDistributable,
    /// Which family of media types.
    pub media_types: Family,
    /// Annotations by place.
    pub annotations: Vec<Annotation>,
}

/// What becomes of layers that may not be distributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonDistributable {
    /// They are layers like others.
    #[default]
    Plain,
    /// `prefer-nondist-layers`: their media type says so still.
    Kept,
}

/// A family of media types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// Those of the OCI image specification.
    #[default]
    Oci,
    /// Those of Docker's schema 2.
    Docker,
}

/// One annotation and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The document or descriptor it goes into.
    pub place: AnnotationPlace,
    /// The platform it is for; `None` is all.
    pub platform: Option<Platform>,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A document or descriptor that carries annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnnotationPlace {
    /// The manifest of each image.
    Manifest,
    /// The descriptor of a manifest in an index.
    ManifestDescriptor,
    /// The index of several images.
    Index,
    /// The descriptor of that index.
    IndexDescriptor,
}

impl ImageOptions {
    /// How layers made here are compressed.
    pub fn layer_compression(&self) -> Compression {
        self.compression.unwrap_or(Compression::GZIP)
    }
}

impl ExportSpec {
    /// Checks that the place can be written to; the earlier, the less is built in vain.
    ///
    /// Errors: [`Error::Output`], in the words of BuildKit's clients.
    pub fn check(&self) -> Result<()> {
        let kind = self.export.kind();
        match &self.export {
            Export::OciDir { dest } | Export::DockerDir { dest } | Export::Local { dest, .. } => {
                check_dir(dest)
            }
            Export::OciArchive { dest }
            | Export::DockerArchive { dest }
            | Export::Tar { dest, .. } => check_file(kind, dest),
            Export::Image(_) | Export::CacheOnly => Ok(()),
        }
    }

    /// Checks several outputs of one build together.
    ///
    /// Errors: as [`ExportSpec::check`], and when two of them want standard output.
    pub fn check_all(specs: &[Self]) -> Result<()> {
        if specs
            .iter()
            .filter(|spec| spec.export.uses_stdout())
            .count()
            > 1
        {
            return Err(Error::output(
                "multiple outputs configured to write to stdout",
            ));
        }
        specs.iter().try_for_each(Self::check)
    }
}

impl Export {
    /// The word after `type=`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OciArchive { .. } | Self::OciDir { .. } => "oci",
            Self::DockerArchive { .. } | Self::DockerDir { .. } => "docker",
            Self::Local { .. } => "local",
            Self::Tar { .. } => "tar",
            Self::Image(_) => "image",
            Self::CacheOnly => "cacheonly",
        }
    }

    /// The name of the step, as BuildKit shows it.
    pub fn vertex_name(&self) -> &'static str {
        match self {
            Self::OciArchive { .. } | Self::OciDir { .. } => "exporting to oci image format",
            Self::DockerArchive { .. } | Self::DockerDir { .. } => {
                "exporting to docker image format"
            }
            Self::Local { .. } => "exporting to client directory",
            Self::Tar { .. } => "exporting to client tarball",
            Self::Image(_) => "exporting to image",
            Self::CacheOnly => "exporting nothing",
        }
    }

    /// Whether it writes to standard output, which then is no place for anything else.
    pub fn uses_stdout(&self) -> bool {
        matches!(
            self,
            Self::OciArchive { dest: Dest::Stdout }
                | Self::DockerArchive { dest: Dest::Stdout }
                | Self::Tar {
                    dest: Dest::Stdout,
                    ..
                }
        )
    }

    /// Whether it needs the layers as tars, with their digests.
    pub fn is_image(&self) -> bool {
        !matches!(
            self,
            Self::Local { .. } | Self::Tar { .. } | Self::CacheOnly
        )
    }
}

fn check_dir(dest: &Path) -> Result<()> {
    match dest.metadata() {
        Ok(meta) if !meta.is_dir() => Err(Error::output(format!(
            "destination directory {} is a file",
            dest.display()
        ))),
        _ => check_dir_place(dest).map_err(|error| unusable(dest, &error)),
    }
}

fn check_file(kind: &str, dest: &Dest) -> Result<()> {
    match dest {
        Dest::Stdout if std::io::stdout().is_terminal() => Err(Error::output(format!(
            "dest file is required for {kind} exporter. refusing to write to console"
        ))),
        Dest::File(path) if path.is_dir() => Err(Error::output(format!(
            "destination file {} is a directory",
            path.display()
        ))),
        Dest::File(path) => check_file_place(path).map_err(|error| unusable(path, &error)),
        Dest::Stdout | Dest::Engine => Ok(()),
    }
}

/// In the words of BuildKit's clients, which open the file at this point.
fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::output(format!("failed to open {}: {error}", path.display()))
}
