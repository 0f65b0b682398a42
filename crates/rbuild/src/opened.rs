//! Opening an image wherever it is: in the store, in a file, in a registry.

use std::path::{Path, PathBuf};

use rbuild_exporter::{
    Form, ImageToExport, Imported, ImportedImage, Input, KeptImage, KeptIndex, Platforms,
    Selection, Source, Which, import,
};
use rbuild_oci::{Address, Digest, Pick, Place, Platform, Reference};
use rbuild_progress::{CancelToken, Sink};
use rbuild_source::{FoundImage, Freshness};

use crate::engine::Engine;
use crate::images::{ImageRow, Row};
use crate::step::announced;
use crate::{BuildError, ErrorKind, ImageDetails, Result, StoredImage};

/// Largest config that is read back.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// A file or stream with images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFile {
    /// Standard input.
    Stdin,
    /// A file or directory, whatever is in it.
    Path(PathBuf),
    /// At an address, which says what it is.
    Address(Address),
}

impl ImageFile {
    /// What to read, and which image of it; `form` is what a file without a transport may be.
    ///
    /// Errors: an address that names no file.
    pub(crate) fn source(&self, form: Form) -> Result<(Source, Option<Pick>)> {
        let tar = |path: &Path, form| Source::Tar {
            input: Input::File(path.to_owned()),
            form,
        };
        let picked = |source, place: &Place| Ok((source, place.pick.clone()));
        match self {
            ImageFile::Stdin => Ok((
                Source::Tar {
                    input: Input::Stdin,
                    form,
                },
                None,
            )),
            ImageFile::Path(path) if path.is_dir() => Ok((Source::LayoutDir(path.clone()), None)),
            ImageFile::Path(path) => Ok((tar(path, form), None)),
            ImageFile::Address(Address::Layout(place)) => {
                picked(Source::LayoutDir(place.path.clone()), place)
            }
            ImageFile::Address(Address::OciArchive(place)) => {
                picked(tar(&place.path, Form::Oci), place)
            }
            ImageFile::Address(Address::DockerArchive(place)) => {
                picked(tar(&place.path, Form::Docker), place)
            }
            ImageFile::Address(address @ (Address::Name(_) | Address::Registry(_))) => Err(
                BuildError::new(ErrorKind::Usage, format!("{address} is no file"))
                    .help("`rbuild tag` brings an image of a registry into the store under a name"),
            ),
        }
    }

    /// What to call it in the progress.
    pub(crate) fn shown(&self) -> String {
        match self {
            ImageFile::Stdin => "standard input".to_owned(),
            ImageFile::Path(path) => path.display().to_string(),
            ImageFile::Address(address) => address.to_string(),
        }
    }
}

impl Engine {
    /// Opens the image at an address: its documents are read, its layers registered with the store. What
    /// comes from a file is in the store afterwards, without a name; what is in a registry is fetched when
    /// it is needed.
    ///
    /// A bare name or id is one in the store, and all of it, whatever `platforms` says. In a registry all
    /// platforms mean that of this machine. Hold a lease on the layers, or a running build, meanwhile.
    ///
    /// Errors: there is no such image, or none for a platform; those of reading it.
    pub fn open_image(
        &self,
        address: &Address,
        platforms: &Platforms,
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<StoredImage> {
        match address {
            Address::Name(name) => self.stored(name),
            Address::Registry(reference) => {
                let name = format!("[internal] load metadata for {reference}");
                announced(sink, &name, |_| self.pulled(reference, platforms, cancel))
            }
            file => {
                let file = ImageFile::Address(file.clone());
                let (source, pick) = file.source(Form::Images)?;
                let wanted = Selection {
                    which: Which::One(pick),
                    platforms: platforms.clone(),
                };
                let all = self.imported(&file, (&source, &wanted), (sink, cancel))?;
                let mut all = all.into_iter();
                all.next()
                    .ok_or_else(|| BuildError::no_image(&address.to_string()))
            }
        }
    }

    /// Reads images out of a file or directory; they have their names there, and none in the store.
    pub(crate) fn imported(
        &self,
        file: &ImageFile,
        (source, wanted): (&Source, &Selection),
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) -> Result<Vec<StoredImage>> {
        let shown = format!("importing {}", file.shown());
        let images = announced(sink, &shown, |key| {
            import(source, wanted, &self.context((sink, key, cancel)))
        })?;
        let images = images.into_iter();
        images.map(|image| self.of_import(image)).collect()
    }

    fn of_import(&self, imported: Imported) -> Result<StoredImage> {
        let names = imported.names;
        let details = |image: ImportedImage, names: Vec<Reference>| {
            let row = ImageRow {
                sizes: self.image_table().sizes(&image.layers)?,
                layers: image.layers,
                manifest: image.manifest,
            };
            let mut details = ImageDetails::new(image.config, &row, names)?;
            details.summary.platforms = vec![image.platform.clone()];
            details.platform = image.platform;
            Ok::<_, BuildError>(details)
        };
        let alone = imported.index.is_none() && imported.images.len() == 1;
        let own = if alone { names.clone() } else { Vec::new() };
        let images = imported.images.into_iter();
        let mut images = images
            .map(|image| details(image, own.clone()))
            .collect::<Result<Vec<_>>>()?;
        match (alone, images.pop()) {
            (true, Some(only)) => Ok(StoredImage::single(only)),
            (_, last) => {
                images.extend(last);
                let (document, others) = match imported.index {
                    Some(index) => (Some(index.document), index.others),
                    None => (None, Vec::new()),
                };
                Ok(StoredImage::several(images, document, others, names))
            }
        }
    }

    /// The images of a registry for some platforms.
    fn pulled(
        &self,
        reference: &Reference,
        platforms: &Platforms,
        cancel: &CancelToken,
    ) -> Result<StoredImage> {
        let wanted = match platforms {
            Platforms::All | Platforms::Native => vec![Platform::host()],
            Platforms::These(wanted) => wanted.clone(),
        };
        let mut images = Vec::with_capacity(wanted.len());
        for platform in &wanted {
            let found = self.registry_images().find(
                self.layers(),
                reference,
                platform,
                (Freshness::Remembered, cancel),
            )?;
            images.push(self.of_registry(found, reference)?);
        }
        match <[ImageDetails; 1]>::try_from(images) {
            Ok([only]) => Ok(StoredImage::single(only)),
            Err(several) => {
                let names = vec![reference.clone()];
                Ok(StoredImage::several(several, None, Vec::new(), names))
            }
        }
    }

    fn of_registry(&self, found: FoundImage, reference: &Reference) -> Result<ImageDetails> {
        let config = self.store().read_blob(&found.id, MAX_CONFIG_BYTES)?;
        let row = ImageRow {
            sizes: self.image_table().sizes(&found.layers)?,
            layers: found.layers,
            manifest: Some(found.manifest),
        };
        ImageDetails::new(config, &row, vec![reference.clone()])
    }
}

impl StoredImage {
    /// The image as an export takes it, with the documents that it came with: the images of some
    /// platforms, or all of them where none is named.
    ///
    /// Errors: there is none for a platform.
    pub(crate) fn kept(&self, what: &str, platforms: &[Platform]) -> Result<KeptImage> {
        let mut chosen: Vec<&ImageDetails> = Vec::new();
        for platform in platforms {
            let image = self.pick(what, Some(platform))?;
            if !chosen.iter().any(|other| other.platform == image.platform) {
                chosen.push(image);
            }
        }
        let whole = platforms.is_empty() || chosen.len() == self.images.len();
        if platforms.is_empty() {
            chosen = self.images.iter().collect();
        }
        let index = match &self.row {
            Row::Index(row) if whole => row.document.clone().map(|document| KeptIndex {
                document,
                others: row.others.clone(),
            }),
            _ => None,
        };
        let as_index = chosen.len() > 1 || (platforms.is_empty() && self.is_index());
        let images = chosen.iter().map(|image| image.kept(&self.summary.names));
        Ok(KeptImage {
            images: images.collect(),
            index: index.filter(|_| as_index),
            as_index,
        })
    }
}

impl ImageDetails {
    /// The image as an export takes it, and the manifest that it came with.
    fn kept(&self, names: &[Reference]) -> (ImageToExport, Option<Digest>) {
        let image = ImageToExport {
            config: self.config_bytes.clone(),
            layers: self.layers.clone(),
            names: names.to_vec(),
            platform: self.platform.clone(),
        };
        (image, self.summary.manifest.clone())
    }
}
