//! A solved result on its way out of the store, and images on their way in.
//!
//! Out: [`Export::parse`] reads an `-o` value, [`export`] writes an OCI image layout (as a directory or
//! tar), a tar for `docker load`, the plain files of the result, or those as one tar. Layers made here
//! are compressed in parallel if they are not yet; layers that were pulled leave as they came. The
//! same image gives the same bytes. Files appear whole or not at all.
//!
//! In: [`import`] reads such layouts and archives, and plain root file systems, and registers their
//! layers. What is read there is not trusted.
//!
//! Pushing lives above, over [`assemble_named`].

mod archive;
mod assemble;
mod context;
mod directory;
mod error;
mod export;
mod import;
mod kept;
mod layout;
mod layout_dir;
mod output;
mod parse;
mod place;
mod rootfs_tar;
mod spec;
mod tar_header;
mod walk;

pub use assemble::{
    Assembled, AssembledImage, Document, ImageToExport, assemble, assemble_named, stays_as_it_came,
};
pub use context::Context;
pub use error::{Error, Result};
pub use export::{EngineArchive, Exported, SavedImage, export, save};
pub use import::{
    Form, Imported, ImportedImage, ImportedIndex, Input, Layout, LayoutFetch, Platforms,
    ResolvedImage, Selection, Source, Which, import,
};
pub use kept::{KeptImage, KeptIndex, assemble_kept, assemble_kept_named};
pub use place::check_file_place;
pub use spec::{
    Annotation, AnnotationPlace, Dangling, Dest, Export, ExportSpec, Family, ImageOptions,
    ImageOutput, Keep, NonDistributable, Stale,
};
