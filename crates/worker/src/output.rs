//! What a vertex yields.

use std::sync::Arc;

use rbuild_layer::LayerId;
use rbuild_source::{LocalContext, WebFile};

/// What a vertex yields; a handle that is cheap to clone.
#[derive(Clone)]
pub enum Output {
    /// A file system: layers, lowest first; none for an empty root.
    Layers(Arc<[LayerId]>),
    /// A directory of the user's.
    Local(LocalContext),
    /// A file that came over the network, or will.
    Web(WebFile),
}

impl Output {
    /// The layers, lowest first; none for what is no layer.
    pub fn layers(&self) -> &[LayerId] {
        match self {
            Output::Layers(stack) => stack,
            Output::Local(_) | Output::Web(_) => &[],
        }
    }

    /// The same file system with one more layer on top.
    pub(crate) fn with(base: Option<&Output>, layer: LayerId) -> Output {
        let below = base.map_or(&[][..], Output::layers);
        Output::Layers(below.iter().copied().chain([layer]).collect())
    }
}
