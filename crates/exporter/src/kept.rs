//! Images on their way out with the documents they came with: equal bytes, equal digests.

use rbuild_layer::Compression;
use rbuild_oci::{Descriptor, Digest, Index, Manifest};

use crate::assemble::{
    Assembled, AssembledImage, Document, ImageToExport, LayerBytes, assemble_with, gather,
};
use crate::spec::ImageOptions;
use crate::{Context, Error, Result};

/// Longest manifest or index that is read, in bytes.
const DOCUMENT_MAX: u64 = 16 << 20;

/// One image, or one of several platforms, as the store has it.
#[derive(Clone, Debug)]
pub struct KeptImage {
    /// The images, one for each platform, with the manifests that they came with; at least one.
    pub images: Vec<(ImageToExport, Option<Digest>)>,
    /// The index they came with, if they are all that it names.
    pub index: Option<KeptIndex>,
    /// Whether they go out under an index, even if there is one only.
    pub as_index: bool,
}

/// The index that images came with.
#[derive(Clone, Debug)]
pub struct KeptIndex {
    /// Its digest, a blob of the store.
    pub document: Digest,
    /// Blobs of what it names besides images, in the store: content before manifests.
    pub others: Vec<Descriptor>,
}

/// Makes the documents of an image from the store: those it came with where nothing else is asked for and
/// every layer can be had as they name it, else as [`assemble`](crate::assemble).
///
/// Errors: as [`assemble`](crate::assemble).
pub fn assemble_kept(
    kept: &KeptImage,
    options: &ImageOptions,
    cx: &Context<'_>,
) -> Result<Assembled> {
    kept_with(kept, (options, LayerBytes::Here), cx)
}

/// As [`assemble_kept`], but layers that stay as they were pulled are only named, as with
/// [`assemble_named`](crate::assemble_named).
pub fn assemble_kept_named(
    kept: &KeptImage,
    options: &ImageOptions,
    cx: &Context<'_>,
) -> Result<Assembled> {
    kept_with(kept, (options, LayerBytes::Anywhere), cx)
}

fn kept_with(
    kept: &KeptImage,
    (options, bytes): (&ImageOptions, LayerBytes),
    cx: &Context<'_>,
) -> Result<Assembled> {
    let plain: Vec<ImageToExport> = kept.images.iter().map(|(image, _)| image.clone()).collect();
    if !is_plain(options) {
        return assemble_with(&plain, options, bytes, cx);
    }
    let mut came = true;
    let mut images = Vec::with_capacity(plain.len());
    for (image, manifest) in &kept.images {
        let known = match manifest {
            Some(manifest) => reuse((image, manifest), bytes, cx)?,
            None => None,
        };
        came &= known.is_some();
        images.push(match known {
            Some(known) => known,
            None => made(image, (options, bytes), cx)?,
        });
    }
    let index = match (&kept.index, came) {
        (Some(index), true) => index_of(index, &images, cx)?,
        _ => None,
    };
    match (index, kept.as_index) {
        (Some((document, others)), _) => Ok(Assembled {
            top: document.descriptor.clone(),
            index: Some(document),
            images,
            others,
        }),
        (None, as_index) => gather(images, as_index, options, cx),
    }
}

/// Whether options leave an image as it is.
fn is_plain(options: &ImageOptions) -> bool {
    let neutral = ImageOptions {
        names: options.names.clone(),
        ..ImageOptions::default()
    };
    *options == neutral
}

fn made(
    image: &ImageToExport,
    (options, bytes): (&ImageOptions, LayerBytes),
    cx: &Context<'_>,
) -> Result<AssembledImage> {
    let made = assemble_with(std::slice::from_ref(image), options, bytes, cx)?;
    let image = made.images.into_iter().next();
    image.ok_or_else(|| Error::output("there is no image to export"))
}

/// The image under its own manifest; `None` if that is not here or names what cannot be had.
fn reuse(
    (image, digest): (&ImageToExport, &Digest),
    bytes: LayerBytes,
    cx: &Context<'_>,
) -> Result<Option<AssembledImage>> {
    if !cx.store.has_blob(digest) {
        return Ok(None);
    }
    let document = cx.store.read_blob(digest, DOCUMENT_MAX)?;
    let Ok(manifest) = Manifest::from_bytes(&document) else {
        return Ok(None);
    };
    let fits = manifest.config.digest == Digest::sha256_of(&image.config)
        && manifest.layers.len() == image.layers.len();
    if !fits {
        return Ok(None);
    }
    for (layer, listed) in image.layers.iter().zip(&manifest.layers) {
        if cx.store.has_blob(&listed.digest) {
            continue;
        }
        let original = cx.layers.original(layer)?;
        let is_original =
            original.is_some_and(|original| original.descriptor.digest == listed.digest);
        if bytes == LayerBytes::Anywhere && is_original {
            continue;
        }
        // A layer that came compressed comes back as it was; its bytes may have to be fetched.
        let blob = cx.layers.compressed(layer, Compression::GZIP, cx.cancel)?;
        if blob.digest != listed.digest {
            return Ok(None);
        }
    }
    cx.store.put_blob(&image.config)?;
    Ok(Some(AssembledImage {
        platform: image.platform.clone(),
        config: Document {
            descriptor: manifest.config.clone(),
            bytes: image.config.clone(),
        },
        layers: manifest.layers.iter().map(bare).collect(),
        manifest: Document {
            descriptor: Descriptor::of(media_type_of(&manifest), &document),
            bytes: document,
        },
    }))
}

/// The media type of a manifest; old ones of OCI do not state it.
fn media_type_of(manifest: &Manifest) -> &str {
    match manifest.media_type.as_str() {
        "" => rbuild_oci::media_type::OCI_MANIFEST,
        stated => stated,
    }
}

fn bare(descriptor: &Descriptor) -> Descriptor {
    let (digest, size) = (descriptor.digest.clone(), descriptor.size);
    Descriptor::new(&*descriptor.media_type, digest, size)
}

type IndexAndOthers = (Document, Vec<Descriptor>);

/// The index as it came, if it names all these images and everything is here.
fn index_of(
    kept: &KeptIndex,
    images: &[AssembledImage],
    cx: &Context<'_>,
) -> Result<Option<IndexAndOthers>> {
    let here = |digest: &Digest| cx.store.has_blob(digest);
    if !here(&kept.document) || !kept.others.iter().all(|blob| here(&blob.digest)) {
        return Ok(None);
    }
    let bytes = cx.store.read_blob(&kept.document, DOCUMENT_MAX)?;
    let Ok(index) = Index::from_bytes(&bytes) else {
        return Ok(None);
    };
    let own = images.iter().map(|image| &image.manifest.descriptor);
    let given: Vec<&Digest> = own.chain(&kept.others).map(|blob| &blob.digest).collect();
    if !index
        .manifests
        .iter()
        .all(|listed| given.contains(&&listed.digest))
    {
        return Ok(None);
    }
    let media_type = match index.media_type.as_str() {
        "" => rbuild_oci::media_type::OCI_INDEX,
        stated => stated,
    };
    let document = Document {
        descriptor: Descriptor::of(media_type, &bytes),
        bytes,
    };
    Ok(Some((document, kept.others.clone())))
}
