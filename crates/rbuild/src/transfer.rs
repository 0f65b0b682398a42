//! Images into and out of files.

use rbuild_exporter::{
    Context, Dest, Export, ExportSpec, Exported, Form, ImageOptions, ImageToExport, Platforms,
    SavedImage, Selection, Which, export, save,
};
use rbuild_layer::LayerId;
use rbuild_oci::{Address, Digest, Pick, Place, Platform, Reference};
use rbuild_progress::{CancelToken, Sink, VertexKey};
use rbuild_store::Lease;

use crate::engine::Engine;
use crate::opened::ImageFile;
use crate::step::announced;
use crate::{BuildError, ErrorKind, ImageSummary, Result, StoredImage};

/// What is to be written where.
#[derive(Debug, Clone)]
pub struct SaveRequest {
    /// The images; those that are the same one become one of several names.
    pub images: Vec<Address>,
    /// Which of several platforms; empty is all of them in an OCI layout, this machine's in an archive for
    /// Docker and of what is in a registry.
    pub platforms: Vec<Platform>,
    /// Where they go.
    pub dest: SaveDest,
}

/// Where images are saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaveDest {
    /// An OCI image layout in a tar.
    Oci(Dest),
    /// What `docker load` reads.
    Docker(Dest),
    /// An address: `oci:`, `oci-archive:` or `docker-archive:`; the only image takes the name in it.
    Address(Address),
}

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in the store now.
    pub image: ImageSummary,
    /// The names that it came with, now in the store.
    pub names: Vec<Reference>,
}

/// A format, where it goes, and the name that is given along.
type Target = (Export, Option<Pick>);

impl SaveDest {
    fn target(&self) -> Result<Target> {
        let file = |place: &Place| Dest::File(place.path.clone());
        Ok(match self {
            Self::Oci(dest) => (Export::OciArchive { dest: dest.clone() }, None),
            Self::Docker(dest) => (Export::DockerArchive { dest: dest.clone() }, None),
            Self::Address(Address::Layout(place)) => {
                let dest = place.path.clone();
                (Export::OciDir { dest }, place.pick.clone())
            }
            Self::Address(Address::OciArchive(place)) => {
                (Export::OciArchive { dest: file(place) }, place.pick.clone())
            }
            Self::Address(Address::DockerArchive(place)) => (
                Export::DockerArchive { dest: file(place) },
                place.pick.clone(),
            ),
            Self::Address(address @ Address::Registry(_)) => {
                return Err(BuildError::new(
                    ErrorKind::Usage,
                    format!("{address} is a registry, and no file to save to"),
                )
                .help("`rbuild push` sends an image to its registry"));
            }
            Self::Address(Address::Name(path)) => (
                Export::DockerArchive {
                    dest: Dest::File(path.into()),
                },
                None,
            ),
        })
    }
}

impl Engine {
    /// Writes images into one layout or archive, with the names they are asked for by, and with the
    /// manifests and indexes that they came with.
    ///
    /// Errors: an image or platform that is not there; several images or a digest where the place has a
    /// name for one; the place cannot be written.
    pub fn save(
        &self,
        request: &SaveRequest,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<Vec<Exported>> {
        let (target, name) = request.dest.target()?;
        // Before anything is read, which may be much.
        checked(&target)?;
        let _running = self.running();
        self.recover((sink, cancel))?;
        let mut images: Vec<(Digest, SavedImage)> = Vec::new();
        let mut leases = Vec::new();
        for address in &request.images {
            let (stored, saved) = self.to_save(address, request, (&target, sink, cancel))?;
            let layers = stored.images.iter().flat_map(|image| &image.layers);
            leases.push(self.lease_layers(layers)?);
            match images.iter_mut().find(|(id, _)| *id == stored.summary.id) {
                Some((_, known)) => known.names.extend(saved.names),
                None => images.push((stored.summary.id, saved)),
            }
        }
        let mut images: Vec<SavedImage> = images.into_iter().map(|(_, image)| image).collect();
        rename(&mut images, &target, name)?;
        announced(sink, target.vertex_name(), |key| {
            Ok(save(&target, &images, &self.context((sink, key, cancel)))?)
        })
    }

    fn to_save(
        &self,
        address: &Address,
        request: &SaveRequest,
        (target, sink, cancel): (&Export, &dyn Sink, &CancelToken),
    ) -> Result<(StoredImage, SavedImage)> {
        let docker = target.kind() == "docker";
        let wanted = match request.platforms.as_slice() {
            [] if docker => Platforms::Native,
            [] => Platforms::All,
            some => Platforms::These(some.to_vec()),
        };
        let stored = self.open_image(address, &wanted, (sink, cancel))?;
        let what = address.to_string();
        let image = match request.platforms.as_slice() {
            [] if docker => {
                let platform = stored.pick(&what, None)?.platform.clone();
                stored.kept(&what, &[platform])?
            }
            wanted => stored.kept(&what, wanted)?,
        };
        let names = match address {
            // By id it is saved without a name, as Docker does.
            Address::Name(name) => {
                let name = Reference::parse(name).ok();
                name.filter(|name| stored.summary.names.contains(name))
                    .into_iter()
                    .collect()
            }
            _ => stored.summary.names.clone(),
        };
        let saved = SavedImage {
            image,
            names,
            tag: None,
        };
        Ok((stored, saved))
    }

    /// Takes all images of a file in, with their names: an OCI layout or what `docker save` wrote; those
    /// of some platforms, or all where none is named.
    ///
    /// Errors: what is read holds no sound images; then nothing is named.
    pub fn load(
        &self,
        file: &ImageFile,
        platforms: &[Platform],
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<Vec<Loaded>> {
        let _running = self.running();
        let (source, pick) = file.source(Form::Images)?;
        let wanted = Selection {
            which: match pick {
                Some(pick) => Which::One(Some(pick)),
                None => Which::All,
            },
            platforms: all_or(platforms),
        };
        let images = self.imported(file, (&source, &wanted), (sink, cancel))?;
        let mut loaded = Vec::with_capacity(images.len());
        for image in &images {
            let names = image.summary.names.clone();
            let id = self.image_table().keep(image, &names)?;
            loaded.push(Loaded {
                image: self.summary(&id)?,
                names,
            });
        }
        Ok(loaded)
    }

    /// Takes an image in under a name: from an OCI layout (a directory or an archive), from what
    /// `docker save` wrote, or from the tar of a root file system; for some platforms, or all of them.
    ///
    /// Errors: what is read is not a sound image, or several of which none is meant; then nothing is
    /// named.
    pub fn import(
        &self,
        name: &Reference,
        (file, platforms): (&ImageFile, &[Platform]),
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<ImageSummary> {
        let _running = self.running();
        let (source, pick) = file.source(Form::Any)?;
        let wanted = Selection {
            which: Which::One(pick),
            platforms: all_or(platforms),
        };
        let images = self.imported(file, (&source, &wanted), (sink, cancel))?;
        let Some(image) = images.first() else {
            return Err(BuildError::no_image(&file.shown()));
        };
        let id = self.image_table().keep(image, std::slice::from_ref(name))?;
        self.summary(&id)
    }

    /// Gives an image one more name; the name leaves the image that had it. An image from elsewhere is
    /// brought into the store with all its layers.
    ///
    /// Errors: as [`Engine::open_image`].
    pub fn tag(
        &self,
        (address, platforms): (&Address, &[Platform]),
        name: &Reference,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<()> {
        let _running = self.running();
        let stored = self.open_image(address, &all_or(platforms), (sink, cancel))?;
        let table = self.image_table();
        if let Address::Name(_) = address {
            let id = match platforms {
                [] => stored.summary.id,
                [one] => stored
                    .pick(&address.to_string(), Some(one))?
                    .summary
                    .id
                    .clone(),
                _ => return Err(part_of_stored()),
            };
            return table.tag(&id, name);
        }
        let layers: Vec<LayerId> = stored
            .images
            .iter()
            .flat_map(|i| i.layers.clone())
            .collect();
        let _lease = self.lease_layers(&layers)?;
        let shown = format!("fetching {address}");
        announced(sink, &shown, |_| {
            let layers = layers.iter();
            layers
                .map(|layer| self.layers().index(layer, cancel))
                .try_for_each(|it| it.map(drop))
        })?;
        table.keep(&stored, std::slice::from_ref(name))?;
        Ok(())
    }

    /// Writes the files of an image as one tar, as a container of it would have them.
    ///
    /// Errors: as [`Engine::open_image`]; the place cannot be written.
    pub fn export_files(
        &self,
        (address, platform): (&Address, Option<&Platform>),
        dest: &Dest,
        sink: &dyn Sink,
        cancel: &CancelToken,
    ) -> Result<()> {
        let spec = ExportSpec {
            export: Export::Tar {
                dest: dest.clone(),
                split: None,
            },
            image: ImageOptions::default(),
            epoch: None,
            other: Default::default(),
        };
        spec.check()?;
        let _running = self.running();
        self.recover((sink, cancel))?;
        let stored = self.open_image(address, &native_or(platform), (sink, cancel))?;
        let image = stored.pick(&address.to_string(), platform)?;
        let _lease = self.lease_layers(&image.layers)?;
        let files = ImageToExport {
            config: image.config_bytes.clone(),
            layers: image.layers.clone(),
            names: Vec::new(),
            platform: image.platform.clone(),
        };
        announced(sink, spec.export.vertex_name(), |key| {
            export(&spec, &[files], &self.context((sink, key, cancel)))
        })?;
        Ok(())
    }

    /// Keeps layers from collection until the lease is dropped.
    pub(crate) fn lease_layers<'l>(
        &self,
        layers: impl IntoIterator<Item = &'l LayerId>,
    ) -> Result<Lease> {
        let (lease, _) = self.store().lease(&[])?;
        for layer in layers {
            if !self.layers().hold(layer, &lease)? && self.layers().find(layer)?.is_none() {
                return Err(BuildError::pruned_meanwhile("a layer of the image"));
            }
        }
        Ok(lease)
    }

    fn summary(&self, id: &Digest) -> Result<ImageSummary> {
        Ok(self.stored(id.as_str())?.summary)
    }

    pub(crate) fn context<'a>(
        &'a self,
        (sink, vertex, cancel): (&'a dyn Sink, &'a VertexKey, &'a CancelToken),
    ) -> Context<'a> {
        Context {
            layers: self.layers(),
            store: self.store(),
            sink,
            vertex,
            cancel,
        }
    }
}

fn all_or(platforms: &[Platform]) -> Platforms {
    match platforms {
        [] => Platforms::All,
        some => Platforms::These(some.to_vec()),
    }
}

/// This machine's platform, or the one that is wanted.
pub(crate) fn native_or(platform: Option<&Platform>) -> Platforms {
    match platform {
        None => Platforms::Native,
        Some(one) => Platforms::These(vec![one.clone()]),
    }
}

fn part_of_stored() -> BuildError {
    let message = "a name for some platforms of an image in the store is not possible";
    BuildError::new(ErrorKind::Usage, message).help("name one platform, or none for all of them")
}

/// Checks the place, as a build does.
fn checked(target: &Export) -> Result<()> {
    let spec = ExportSpec {
        export: target.clone(),
        image: ImageOptions::default(),
        epoch: None,
        other: Default::default(),
    };
    Ok(spec.check()?)
}

/// Gives the only image the name that its place has.
fn rename(images: &mut [SavedImage], target: &Export, name: Option<Pick>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let Pick::Tag(name) = name else {
        let message = "an image is saved under a tag, its digest is what it comes to";
        return Err(BuildError::new(ErrorKind::Usage, message));
    };
    let [image] = images else {
        let message = format!("{} images cannot all be {name}", images.len());
        return Err(BuildError::new(ErrorKind::Usage, message)
            .help("leave the name out, then each keeps its own"));
    };
    match Reference::parse(&name) {
        Ok(reference) if target.kind() == "docker" => image.names = vec![reference],
        _ => image.tag = Some(name),
    }
    Ok(())
}
