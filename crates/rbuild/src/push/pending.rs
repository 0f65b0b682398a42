//! Pushes that have begun and not ended: what `rbuild push --resume` goes on with.
//!
//! Everything that a push needs is in the store when it begins. A record names it; it is written
//! before the first byte is sent and removed after the last tag is set. A later push under the same
//! names takes its place.

use rbuild_exporter::{Assembled, AssembledImage, Document};
use rbuild_layer::LayerId;
use rbuild_oci::{Descriptor, Digest, Platform, Reference};
use rbuild_store::{Store, Table};
use serde::{Deserialize, Serialize};

use super::{Called, MAX_DOCUMENT_BYTES, Security, Target};
use crate::{BuildError, Result};

/// A push that has begun.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    names: Vec<String>,
    #[serde(default)]
    by_digest: bool,
    #[serde(default)]
    insecure: bool,
    top: Descriptor,
    images: Vec<PendingImage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Descriptor>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PendingImage {
    platform: Platform,
    config: Descriptor,
    manifest: Descriptor,
    layers: Vec<(Descriptor, LayerId)>,
}

impl Pending {
    /// Describes a push that is about to begin; `stacks` are the layers of each image.
    pub fn of<'s>(
        assembled: &Assembled,
        stacks: impl Iterator<Item = &'s [LayerId]>,
        target: &Target,
    ) -> Pending {
        let image = |(image, stack): (&AssembledImage, &[LayerId])| PendingImage {
            platform: image.platform.clone(),
            config: image.config.descriptor.clone(),
            manifest: image.manifest.descriptor.clone(),
            layers: image
                .layers
                .iter()
                .cloned()
                .zip(stack.iter().copied())
                .collect(),
        };
        Pending {
            names: target.names.iter().map(ToString::to_string).collect(),
            by_digest: target.called == Called::ByDigest,
            insecure: target.security == Security::Insecure,
            top: assembled.top.clone(),
            images: assembled.images.iter().zip(stacks).map(image).collect(),
            index: assembled
                .index
                .as_ref()
                .map(|index| index.descriptor.clone()),
            others: assembled.others.clone(),
        }
    }

    /// All that there are, by their names.
    pub fn all(store: &Store) -> Result<Vec<Pending>> {
        let rows = store.list(Table::Remotes, PREFIX)?;
        rows.iter()
            .map(|(_, row)| serde_json::from_slice(row).map_err(BuildError::decode))
            .collect()
    }

    /// Keeps the record.
    pub fn begin(&self, store: &Store) -> Result<()> {
        let row = serde_json::to_vec(self).map_err(BuildError::encode)?;
        Ok(store.put(Table::Remotes, &self.key(), &row)?)
    }

    /// Drops the record, unless another push under the same names has put its own in its place.
    pub fn end(&self, store: &Store) -> Result<()> {
        let own = serde_json::to_vec(self).map_err(BuildError::encode)?;
        if store.get(Table::Remotes, &self.key())? == Some(own) {
            store.delete(Table::Remotes, &self.key())?;
        }
        Ok(())
    }

    /// Where it goes.
    pub fn target(&self) -> Result<Target> {
        let names = self.names.iter().map(|name| Reference::parse(name));
        Ok(Target {
            names: names
                .collect::<Result<_, _>>()
                .map_err(BuildError::decode)?,
            called: match self.by_digest {
                true => Called::ByDigest,
                false => Called::ByTag,
            },
            security: match self.insecure {
                true => Security::Insecure,
                false => Security::Configured,
            },
        })
    }

    /// The image, from the store. Errors: something of it is gone.
    pub fn assembled(&self, store: &Store) -> Result<Assembled> {
        let document = |descriptor: &Descriptor| {
            Ok::<_, BuildError>(Document {
                descriptor: descriptor.clone(),
                bytes: store.read_blob(&descriptor.digest, MAX_DOCUMENT_BYTES)?,
            })
        };
        let image = |image: &PendingImage| {
            Ok::<_, BuildError>(AssembledImage {
                platform: image.platform.clone(),
                config: document(&image.config)?,
                manifest: document(&image.manifest)?,
                layers: image.layers.iter().map(|(blob, _)| blob.clone()).collect(),
            })
        };
        Ok(Assembled {
            images: self.images.iter().map(image).collect::<Result<_>>()?,
            index: self.index.as_ref().map(document).transpose()?,
            top: self.top.clone(),
            others: self.others.clone(),
        })
    }

    /// The documents that it sends.
    pub fn documents(&self) -> Vec<Digest> {
        let images = self.images.iter();
        let images = images.flat_map(|image| [&image.config, &image.manifest]);
        let all = images.chain(&self.index).chain([&self.top]);
        all.map(|descriptor| descriptor.digest.clone()).collect()
    }

    /// The layers of each image.
    pub fn stacks(&self) -> Vec<Vec<LayerId>> {
        let ids = |image: &PendingImage| image.layers.iter().map(|(_, id)| *id).collect();
        self.images.iter().map(ids).collect()
    }

    fn key(&self) -> String {
        format!("{PREFIX}{}", self.names.join(" "))
    }
}

const PREFIX: &str = "push ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_that_ends_leaves_the_record_of_one_begun_later() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let push = |content: &[u8]| Pending {
            names: vec!["h.io/a:1".to_owned()],
            by_digest: false,
            insecure: false,
            top: Descriptor::of(rbuild_oci::media_type::OCI_MANIFEST, content),
            images: Vec::new(),
            index: None,
            others: Vec::new(),
        };
        let tops = || -> Vec<Descriptor> {
            let all = Pending::all(&store).unwrap();
            all.into_iter().map(|pending| pending.top).collect()
        };
        let (first, second) = (push(b"1"), push(b"2"));
        first.begin(&store).unwrap();
        second.begin(&store).unwrap();
        first.end(&store).unwrap();
        assert_eq!(tops(), std::slice::from_ref(&second.top));
        second.end(&store).unwrap();
        assert_eq!(tops(), []);
    }
}
