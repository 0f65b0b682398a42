//! Archives that `docker save` wrote before it wrote image layouts, and tools that still do.

use std::io::{self, Read};
use std::path::Path;

use rbuild_oci::{Descriptor, Pick, Platform, Reference};
use rbuild_progress::{CancelReader, Meter};

use super::files::{Files, read_document};
use super::{Imported, ImportedImage, Platforms, Selection, Which, checked_config, take_in};
use crate::layout::{DOCKER_MANIFEST, DockerImage};
use crate::{Context, Error, Result};

/// Imports the images that are meant.
pub(super) fn import(
    files: &dyn Files,
    path: &Path,
    wanted: &Selection,
    (meter, cx): (&Meter<'_>, &Context<'_>),
) -> Result<Vec<Imported>> {
    let bytes = read_document(files, DOCKER_MANIFEST, path)?.unwrap_or_default();
    let images: Vec<DockerImage> = serde_json::from_slice(&bytes).map_err(|error| {
        Error::import(path, format!("its manifest.json cannot be read: {error}"))
    })?;
    let chosen = match &wanted.which {
        Which::All => images.iter().collect(),
        Which::One(pick) => vec![choose(&images, pick.as_ref(), path)?],
    };
    if chosen.is_empty() {
        return Err(Error::import(path, "it has no images"));
    }
    let mut all = Vec::new();
    for image in chosen {
        let imported = import_one((files, path), image, (meter, cx))?;
        check_platform(&imported, &wanted.platforms, path)?;
        all.push(imported);
    }
    Ok(all)
}

fn import_one(
    (files, path): (&dyn Files, &Path),
    image: &DockerImage,
    (meter, cx): (&Meter<'_>, &Context<'_>),
) -> Result<Imported> {
    let missing = |name: &str| Error::import(path, format!("{name:?} is missing"));
    let config =
        read_document(files, &image.config, path)?.ok_or_else(|| missing(&image.config))?;
    let names = image.layers.as_deref().unwrap_or_default();
    let parsed = checked_config(&config, names.len(), path)?;
    let mut blobs = Vec::with_capacity(names.len());
    for name in names {
        let found = files.open(name)?.ok_or_else(|| missing(name))?;
        blobs.push(ingest(found.bytes, &path.join(name), meter, cx)?);
    }
    let tags = image.repo_tags.iter().flatten();
    Ok(Imported {
        names: tags.filter_map(|tag| Reference::parse(tag).ok()).collect(),
        images: vec![ImportedImage {
            layers: take_in(parsed.diff_ids(), &blobs, super::ORIGIN, cx)?,
            platform: parsed.platform().normalized(),
            manifest: None,
            config,
        }],
        index: None,
    })
}

/// An image of such an archive is for one platform: it must serve those that are asked for.
fn check_platform(imported: &Imported, platforms: &Platforms, path: &Path) -> Result<()> {
    let Platforms::These(wanted) = platforms else {
        return Ok(());
    };
    let serves = |wanted: &Platform| {
        let mut images = imported.images.iter();
        images.any(|image| wanted.rank(&image.platform).is_some())
    };
    match wanted.iter().find(|wanted| !serves(wanted)) {
        None => Ok(()),
        Some(wanted) => Err(Error::import(path, format!("it has no image for {wanted}"))),
    }
}

/// Takes in a layer whose digest nobody has stated; that it is the right one shows when it is indexed.
fn ingest(
    bytes: impl Read,
    path: &Path,
    meter: &Meter<'_>,
    cx: &Context<'_>,
) -> Result<Descriptor> {
    let mut reader = CancelReader::new(bytes, cx.cancel);
    let mut magic = Vec::new();
    reader
        .by_ref()
        .take(4)
        .read_to_end(&mut magic)
        .map_err(Error::at("read", path))?;
    let media_type = super::rootfs::layer_type(&magic);
    let mut ingest = cx.store.ingest()?;
    io::copy(&mut magic.as_slice().chain(reader), &mut ingest).map_err(Error::at("copy", path))?;
    let (digest, size) = ingest.commit(None)?;
    meter.add(size);
    Ok(Descriptor::new(media_type, digest, size))
}

/// The image of that name, or the only one.
fn choose<'a>(
    images: &'a [DockerImage],
    pick: Option<&Pick>,
    path: &Path,
) -> Result<&'a DockerImage> {
    let tag = match pick {
        None => None,
        Some(Pick::Tag(tag)) => Some(tag),
        Some(Pick::Digest(digest)) => {
            let reason = format!("it has names and no digests such as {digest}");
            return Err(Error::import(path, reason));
        }
    };
    let wanted = tag.map(|tag| Reference::parse(tag)).transpose();
    let wanted = wanted.map_err(|error| Error::import(path, error.to_string()))?;
    let all = || {
        images
            .iter()
            .flat_map(|image| image.repo_tags.iter().flatten())
    };
    let found = match (&wanted, images) {
        (Some(wanted), _) => images.iter().find(|image| {
            image
                .repo_tags
                .iter()
                .flatten()
                .any(|tag| Reference::parse(tag).is_ok_and(|tag| tag == *wanted))
        }),
        (None, [image]) => Some(image),
        (None, _) => None,
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = all().map(String::as_str).collect();
        let reason = match tag {
            Some(tag) => format!("could not find {tag:?}; there is {}", names.join(", ")),
            None => format!(
                "it has {} images, say which: {}",
                images.len(),
                names.join(", ")
            ),
        };
        Error::import(path, reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: &[&str]) -> DockerImage {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        DockerImage {
            config: "c.json".into(),
            repo_tags: Some(tags),
            layers: None,
        }
    }

    #[test]
    fn image_is_chosen_by_name_or_by_being_alone() {
        let path = Path::new("x.tar");
        let choose_in = |images: &[DockerImage], tag: Option<&str>| {
            let pick = tag.map(|tag| Pick::Tag(tag.to_owned()));
            choose(images, pick.as_ref(), path)
                .map(|image| image.repo_tags.clone().unwrap())
                .map_err(|e| e.to_string())
        };
        let two = [image(&["a:1", "b:latest"]), image(&["c:1"])];
        assert_eq!(
            choose_in(&two, Some("docker.io/library/b")).unwrap(),
            ["a:1", "b:latest"]
        );
        assert_eq!(choose_in(&two[1..], None).unwrap(), ["c:1"]);
        let error = choose_in(&two, None).unwrap_err();
        assert_eq!(
            error,
            "import \"x.tar\": it has 2 images, say which: a:1, b:latest, c:1"
        );
        let error = choose_in(&two, Some("d")).unwrap_err();
        assert_eq!(
            error,
            "import \"x.tar\": could not find \"d\"; there is a:1, b:latest, c:1"
        );
    }
}
