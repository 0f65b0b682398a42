//! Layers for `rewrite-timestamp`: what a build adds has no time later than its epoch.
//!
//! A build has one image: where one output asks for it, all of them and the store get the same layers.

use rbuild_layer::{Compression, LayerId, LayerStore};
use rbuild_progress::{CancelToken, Event, Sink, WarningNote};
use rbuild_store::Lease;
use rbuild_worker::{Asked, ImageAsked};

use crate::{BuildRequest, Result, deliver};

/// Returns the latest time that files of new layers may have; `None` if they keep theirs.
pub(crate) fn latest(request: &BuildRequest, epoch: Option<i64>) -> Option<i64> {
    epoch.filter(|_| is_wanted(request))
}

/// Says that times are kept after all, if they were to be rewritten and there is no epoch.
pub(crate) fn warn_without_epoch(request: &BuildRequest, epoch: Option<i64>, sink: &dyn Sink) {
    if epoch.is_some() || !is_wanted(request) {
        return;
    }
    sink.send(Event::Warning(WarningNote {
        vertex: None,
        short: "RewriteTimestamp: rewrite-timestamp=true has no effect without SOURCE_DATE_EPOCH"
            .to_owned(),
        detail: vec![
            "Set it in the environment, or with --build-arg SOURCE_DATE_EPOCH=SECONDS.".to_owned(),
        ],
        url: None,
        file: None,
        line: None,
        end_line: None,
    }));
}

/// Returns what is asked of the layers that steps make; nothing, if they are written anew afterwards.
pub(crate) fn asked_of_steps(request: &BuildRequest, epoch: Option<i64>) -> Asked {
    let asked = deliver::asked(request);
    match latest(request, epoch) {
        None => asked,
        Some(_) => Asked {
            image: ImageAsked::No,
            compressions: Default::default(),
            files: asked.files,
            cached: asked.cached,
        },
    }
}

/// Exchanges the topmost `new` layers of a stack for such without later times.
pub(crate) fn cap_new(
    stack: &mut [LayerId],
    new: usize,
    (latest, compression): (i64, Compression),
    (layers, lease, cancel): (&LayerStore, &Lease, &CancelToken),
) -> Result<()> {
    for layer in stack.iter_mut().rev().take(new) {
        *layer = layers.capped(layer, latest, compression, (lease, cancel))?;
    }
    Ok(())
}

fn is_wanted(request: &BuildRequest) -> bool {
    let mut outputs = request.outputs.iter();
    outputs.any(|spec| spec.export.is_image() && spec.image.rewrite_timestamp)
}
