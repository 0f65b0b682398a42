//! Images made up where none is to be looked up, or could be.

use rbuild_frontend::{ImageAnswer, ImageQuestion};
use rbuild_graph::ImageOrigin;
use rbuild_oci::{Digest, ImageConfig};

/// The environment of the image.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image of the wanted platform with a PATH and nothing else.
pub(crate) fn made_up(question: &ImageQuestion) -> ImageAnswer {
    let mut config = ImageConfig::new(&question.platform);
    config.config.env.push(PATH.to_owned());
    ImageAnswer {
        manifest: Digest::sha256_of(b""),
        pinned: None,
        config,
        diff_ids: Vec::new(),
        origin: ImageOrigin::Registry,
    }
}
