//! OCI media types and their Docker twins.
//!
//! A descriptor carries its media type as text, because text is what must be written back. Code
//! that wants to know what the text means asks [`MediaType::of`].

/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker manifest list, the twin of the index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest, schema 1: recognised only to be refused with a clear message.
pub const DOCKER_MANIFEST_V1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// Docker manifest, schema 1, signed: recognised only to be refused.
pub const DOCKER_MANIFEST_V1_SIGNED: &str =
    "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, uncompressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, zstd.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Layers that licences forbid to distribute; they are fetched like others when they are there.
const FOREIGN: [(&str, Compression); 5] = [
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        Compression::None,
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        Compression::Gzip,
    ),
    (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        Compression::Zstd,
    ),
    (
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        Compression::None,
    ),
    (
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        Compression::Gzip,
    ),
];

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    /// The plain tar.
    None,
    /// gzip, the common case.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// The OCI media type of a layer compressed like this.
    pub fn oci_layer(self) -> &'static str {
        match self {
            Self::None => OCI_LAYER,
            Self::Gzip => OCI_LAYER_GZIP,
            Self::Zstd => OCI_LAYER_ZSTD,
        }
    }

    /// The OCI media type of such a layer that may not be distributed.
    pub fn oci_nondistributable_layer(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.nondistributable.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        }
    }

    /// The Docker media type of such a layer that may not be distributed; there is none for zstd, where
    /// OCI's is given.
    pub fn docker_nondistributable_layer(self) -> &'static str {
        match self {
            Self::None => "application/vnd.docker.image.rootfs.foreign.diff.tar",
            Self::Gzip => "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            Self::Zstd => self.oci_nondistributable_layer(),
        }
    }

    /// The Docker media type of a layer compressed like this.
    pub fn docker_layer(self) -> &'static str {
        match self {
            Self::None => DOCKER_LAYER,
            Self::Gzip => DOCKER_LAYER_GZIP,
            Self::Zstd => DOCKER_LAYER_ZSTD,
        }
    }
}

/// What a media type means, whichever of the two families it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// Several manifests by platform.
    Index,
    /// One image.
    Manifest,
    /// An image config.
    Config,
    /// A layer with this compression.
    Layer(Compression),
    /// Anything else: attestations, artifacts, old formats.
    Other,
}

impl MediaType {
    /// Classifies a media type; parameters after `;` and letter case do not matter.
    pub fn of(text: &str) -> Self {
        let bare = text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match bare.as_str() {
            OCI_INDEX | DOCKER_INDEX => Self::Index,
            OCI_MANIFEST | DOCKER_MANIFEST => Self::Manifest,
            OCI_CONFIG | DOCKER_CONFIG => Self::Config,
            OCI_LAYER | DOCKER_LAYER => Self::Layer(Compression::None),
            OCI_LAYER_GZIP | DOCKER_LAYER_GZIP => Self::Layer(Compression::Gzip),
            OCI_LAYER_ZSTD | DOCKER_LAYER_ZSTD => Self::Layer(Compression::Zstd),
            other => match FOREIGN.iter().find(|(name, _)| *name == other) {
                Some((_, compression)) => Self::Layer(*compression),
                None => Self::Other,
            },
        }
    }

    /// Whether a media type is that of a layer which may not be distributed.
    pub fn is_nondistributable(text: &str) -> bool {
        let bare = text.split(';').next().unwrap_or_default().trim();
        FOREIGN
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(bare))
    }

    /// Whether it is an index or manifest list.
    pub fn is_index(self) -> bool {
        self == Self::Index
    }

    /// Whether it is a single image's manifest.
    pub fn is_manifest(self) -> bool {
        self == Self::Manifest
    }

    /// Whether it is a file system layer.
    pub fn is_layer(self) -> bool {
        matches!(self, Self::Layer(_))
    }

    /// The compression, if it is a layer.
    pub fn compression(self) -> Option<Compression> {
        match self {
            Self::Layer(compression) => Some(compression),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_mean_the_same() {
        for (oci, docker) in [
            (OCI_INDEX, DOCKER_INDEX),
            (OCI_MANIFEST, DOCKER_MANIFEST),
            (OCI_CONFIG, DOCKER_CONFIG),
            (OCI_LAYER, DOCKER_LAYER),
            (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP),
            (OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD),
        ] {
            assert_eq!(MediaType::of(oci), MediaType::of(docker));
            assert_ne!(MediaType::of(oci), MediaType::Other);
        }
    }

    #[test]
    fn parameters_and_case_do_not_matter() {
        let text = "Application/vnd.oci.image.index.v1+JSON; charset=utf-8";
        assert!(MediaType::of(text).is_index());
    }

    #[test]
    fn foreign_layers_are_layers_and_schema_one_is_nothing() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for name in [
                compression.oci_nondistributable_layer(),
                compression.docker_nondistributable_layer(),
            ] {
                assert_eq!(MediaType::of(name).compression(), Some(compression));
                assert!(MediaType::is_nondistributable(name));
            }
            assert!(!MediaType::is_nondistributable(compression.oci_layer()));
        }
        let foreign = MediaType::of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
        assert_eq!(foreign.compression(), Some(Compression::Gzip));
        assert_eq!(MediaType::of(DOCKER_MANIFEST_V1_SIGNED), MediaType::Other);
    }

    #[test]
    fn compression_names_its_layers() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for name in [compression.oci_layer(), compression.docker_layer()] {
                assert_eq!(MediaType::of(name).compression(), Some(compression));
            }
        }
    }
}
