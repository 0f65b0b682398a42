//! The same work on several layers at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::lock;
use crate::{Error, LayerId, Result};

/// Most layers that are worked on at once: each keeps one or two cores busy.
const MAX_PARALLEL: usize = 4;

/// One more than there are cores, since they wait for bytes as well.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| MAX_PARALLEL.min(cores.get() + 1))
}

/// Does the same with each layer on a few threads; the results have the layers' order. Once one has
/// failed no other is begun.
///
/// Errors: the first in that order; `Gone` for a layer whose work broke off.
pub(super) fn side_by_side<T: Send>(
    layers: &[LayerId],
    work: impl Fn(&LayerId) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let take = || {
        // Begun in order: those before one that failed were, and their errors count first.
        let at =
            (!has_failed.load(Ordering::Relaxed)).then(|| next.fetch_add(1, Ordering::Relaxed))?;
        Some((at, layers.get(at)?))
    };
    let done: Vec<Mutex<Option<Result<T>>>> = layers.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..layers.len().min(at_once()) {
            scope.spawn(|| {
                while let Some((at, layer)) = take() {
                    let made = work(layer);
                    has_failed.fetch_or(made.is_err(), Ordering::Relaxed);
                    if let Some(slot) = done.get(at) {
                        *lock(slot) = Some(made);
                    }
                }
            });
        }
    });
    layers
        .iter()
        .zip(done)
        .map(|(layer, slot)| {
            let done = slot
                .into_inner()
                .unwrap_or_else(|broken| broken.into_inner());
            done.unwrap_or(Err(Error::Gone { layer: *layer }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rbuild_progress::CancelToken;

    use super::*;

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let layers: Vec<LayerId> = (0..20).map(|n| LayerId::from_bytes([n; 16])).collect();
        // Set by a layer that could only be begun by the thread whose first one failed.
        let goes_on = CancelToken::new();
        let failed = side_by_side(&layers, |layer| {
            match layers.iter().position(|one| one == layer) {
                Some(0) => return Err(Error::Gone { layer: *layer }),
                Some(at) if at < MAX_PARALLEL => {
                    goes_on.wait(Duration::from_millis(500)).ok();
                }
                _ => goes_on.cancel(),
            }
            Ok(())
        });
        assert!(matches!(failed, Err(Error::Gone { layer }) if layer == layers[0]));
        assert!(!goes_on.is_cancelled());
    }

    #[test]
    fn results_keep_their_order_and_the_first_error_wins() {
        let layers: Vec<LayerId> = (0..20).map(|n| LayerId::from_bytes([n; 16])).collect();
        let same = side_by_side(&layers, |layer| Ok(*layer)).unwrap();
        assert_eq!(same, layers);
        let failed = side_by_side(&layers, |layer| match layer.to_string().as_bytes()[1] {
            b'7' | b'9' => Err::<(), _>(Error::Gone { layer: *layer }),
            _ => Ok(()),
        });
        let Err(Error::Gone { layer }) = failed else {
            panic!("it failed with {failed:?}");
        };
        assert_eq!(layer, LayerId::from_bytes([7; 16]));
    }
}
