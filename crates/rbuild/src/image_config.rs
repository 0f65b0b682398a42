//! From a plan's result and the layers that were made to the image's config.
//!
//! Times follow BuildKit: an entry with a layer has the layer's time; one without has the time of
//! the first new layer if none came before it, else that of the layer before. With a given epoch
//! everything new that is later is set to it.

use std::time::SystemTime;

use jiff::Timestamp;
use rbuild_frontend::PlanResult;
use rbuild_layer::{Compression, LayerId, LayerStore};
use rbuild_oci::{DiffId, History, ImageConfig};
use rbuild_progress::CancelToken;
use rbuild_solver::Solved;
use rbuild_store::Lease;
use rbuild_worker::{Asked, ImageAsked, Output};

use crate::{BuildError, Result, reproduce};

/// An image that was built: config and layers, lowest first.
pub(crate) struct BuiltImage {
    pub config: ImageConfig,
    pub layers: Vec<LayerId>,
}

/// The times that a build was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The time of everything new in the config, in seconds since 1970.
    pub epoch: Option<i64>,
    /// The latest time of files in new layers; `None` leaves them theirs.
    pub latest: Option<i64>,
}

/// Puts the config of one result together; makes diff ids that are not known yet, if an image is asked for.
pub(crate) fn assemble(
    result: &PlanResult,
    solved: &Solved<Output>,
    (layers, lease): (&LayerStore, &Lease),
    (asked, times, cancel): (&Asked, Times, &CancelToken),
) -> Result<BuiltImage> {
    let mut stack: Vec<LayerId> = result
        .edge
        .and_then(|edge| solved.output(edge))
        .map(|output| output.layers().to_vec())
        .unwrap_or_default();
    if let Some(latest) = times.latest {
        let new = result.history.iter().filter(|item| item.layer.is_some());
        let compression = asked.compressions.first().copied();
        let form = (latest, compression.unwrap_or(Compression::None));
        reproduce::cap_new(&mut stack, new.count(), form, (layers, lease, cancel))?;
    }
    let mut config: ImageConfig = result.config.clone();
    // Where only the files are wanted nobody sees the config.
    config.rootfs.diff_ids = if stack.is_empty() || asked.image == ImageAsked::No {
        None
    } else {
        compress_new(&stack, layers, (asked, cancel))?;
        Some(diff_ids(&stack, layers, cancel)?)
    };
    config.history = history(result, solved, layers, times.epoch)?;
    config.created = config
        .history
        .iter()
        .rev()
        .find_map(|entry| entry.created.clone());
    Ok(BuiltImage {
        config,
        layers: stack,
    })
}

/// Compresses layers that lack their diff id, if they are to be exported: it takes both in one pass.
fn compress_new(
    stack: &[LayerId],
    layers: &LayerStore,
    (asked, cancel): (&Asked, &CancelToken),
) -> Result<()> {
    let Some(compression) = asked.compressions.first() else {
        return Ok(());
    };
    for layer in stack {
        if layers.info(layer)?.diff_id.is_none() {
            layers.compressed(layer, *compression, cancel)?;
        }
    }
    Ok(())
}

/// The diff ids of a stack; those not known yet are made side by side.
fn diff_ids(stack: &[LayerId], layers: &LayerStore, cancel: &CancelToken) -> Result<Vec<DiffId>> {
    std::thread::scope(|scope| {
        let mut running = Vec::with_capacity(stack.len());
        for layer in stack {
            let known = layers.info(layer)?.diff_id;
            running.push(match known {
                Some(diff_id) => Ok(diff_id),
                None => Err(scope.spawn(move || layers.diff_id(layer, cancel))),
            });
        }
        running
            .into_iter()
            .map(|one| match one {
                Ok(known) => Ok(known),
                Err(thread) => match thread.join() {
                    Ok(made) => Ok(made?),
                    Err(_) => Err(BuildError::build("making a layer's diff id broke off")),
                },
            })
            .collect()
    })
}

fn history(
    result: &PlanResult,
    solved: &Solved<Output>,
    layers: &LayerStore,
    epoch: Option<i64>,
) -> Result<Vec<History>> {
    let mut all = result.base_history.clone();
    let base_len = all.len();
    for item in &result.history {
        let made = match item.layer {
            None => None,
            Some(vertex) => {
                let layer = solved.output(vertex).and_then(|o| o.layers().last());
                let layer =
                    layer.ok_or_else(|| BuildError::build("a layer of the result is missing"))?;
                Some(layers.info(layer)?.created)
            }
        };
        all.push(History {
            created: made.map(|time| clamped(time, epoch)),
            created_by: item.created_by.clone(),
            comment: item.comment.clone(),
            empty_layer: item.layer.is_none(),
            ..History::default()
        });
    }
    fill_times(&mut all);
    if let Some(epoch) = epoch {
        let limit = clamped(SystemTime::now(), Some(epoch));
        for entry in all.iter_mut().skip(base_len) {
            // Without any layer there is no time to take over; then the epoch is the time.
            entry.created.get_or_insert_with(|| limit.clone());
        }
    }
    Ok(all)
}

/// Gives entries without a time the one of the layer they stand beside.
fn fill_times(all: &mut [History]) {
    let missing = all.iter().position(|entry| entry.created.is_none());
    let Some(missing) = missing else { return };
    let (before, after) = all.split_at(missing);
    let first_new = after.iter().find_map(|entry| entry.created.clone());
    let last_old = before.iter().rev().find_map(|entry| entry.created.clone());
    let mut current = first_new.or(last_old);
    for entry in all.iter_mut().skip(missing) {
        match &entry.created {
            Some(time) => current = Some(time.clone()),
            None => entry.created = current.clone(),
        }
    }
}

fn clamped(time: SystemTime, epoch: Option<i64>) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    let limit = epoch.and_then(|secs| Timestamp::from_second(secs).ok());
    match limit {
        Some(limit) if time > limit => limit.to_string(),
        _ => time.to_string(),
    }
}
