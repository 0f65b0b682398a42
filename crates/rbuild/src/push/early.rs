//! What a push does while the build still runs: it asks whether it would be let in, and sends layers as
//! soon as they are compressed.
//!
//! Both are done on the side and promise nothing. A layer that did not get through is pushed again at the
//! end, where a failure is told. A refusal ends the build early, since nothing can come of it; whatever
//! may pass by itself (a registry that limits requests, or answers 500) does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rbuild_exporter::{ImageOptions, stays_as_it_came};
use rbuild_layer::{Compression, LayerId};
use rbuild_oci::{Descriptor, Reference};
use rbuild_progress::{Backlog, CancelToken, Sink, VertexKey};
use rbuild_registry::{InStore, PushContext};
use rbuild_worker::Made;

use super::{Target, wanted};
use crate::engine::Engine;
use crate::step::announced;
use crate::{BuildError, BuildRequest, Result};

/// Layers sent at the same time while steps run.
const SENDERS: usize = 3;

/// How long a build has to take before the registry is asked whether it would take the result.
const WORTH_ASKING: Duration = Duration::from_millis(300);

/// What is pushed on the side of a build.
pub(crate) struct Early {
    targets: Vec<(ImageOptions, Target)>,
    /// Layers of the bases of the result.
    bases: Vec<LayerId>,
    queue: Arc<Queue>,
}

/// Layers that are ready to be sent; what is left at the end is pushed with all the rest.
#[derive(Default)]
struct Queue(Backlog<Ready>);

/// A blob that is ready to be sent.
struct Ready {
    layer: LayerId,
    blob: Descriptor,
    /// How it was compressed for the outputs that asked for that; `None` as it was pulled.
    compression: Option<Compression>,
}

impl Ready {
    /// Whether an output has a layer as this blob.
    fn is_for(&self, options: &ImageOptions) -> bool {
        match self.compression {
            Some(compression) => options.layer_compression() == compression,
            None => stays_as_it_came(&self.blob, options),
        }
    }
}

impl Made for Queue {
    fn compressed(&self, layer: &LayerId, compression: Compression, form: &Descriptor) {
        self.0.push(Ready {
            layer: *layer,
            blob: form.clone(),
            compression: Some(compression),
        });
    }
}

/// Told to the steps and to what runs beside them.
struct Signals {
    /// Ends the steps.
    steps: CancelToken,
    /// Ends what runs beside them.
    aside: CancelToken,
    refusal: Mutex<Option<BuildError>>,
}

impl Early {
    /// What is pushed of a request, on top of `bases`; `None` if nothing is.
    pub fn of(request: &BuildRequest, bases: impl FnOnce() -> Vec<LayerId>) -> Option<Early> {
        let targets = request.outputs.iter().filter_map(|spec| {
            let target = Target::of(request, spec)?;
            Some((spec.image.clone(), target))
        });
        let targets: Vec<_> = targets.collect();
        (!targets.is_empty()).then(|| Early {
            targets,
            bases: bases(),
            queue: Arc::default(),
        })
    }

    /// Who is told of compressed layers.
    pub fn listener(&self) -> Arc<dyn Made> {
        self.queue.clone()
    }

    /// Takes no further layer: the steps are done, and the push proper begins.
    pub fn close(&self) {
        self.queue.0.close();
    }

    /// Does `work`, whose steps listen to the token that it is handed, while layers are sent.
    ///
    /// Errors: those of `work`; a registry's refusal, which ends it.
    pub fn alongside<T>(
        &self,
        engine: &Engine,
        (sink, cancel): (&dyn Sink, &CancelToken),
        work: impl FnOnce(&CancelToken) -> Result<T>,
    ) -> Result<T> {
        let host = |e| BuildError::caused(crate::ErrorKind::Host, Opened(e));
        let signals = Signals {
            steps: CancelToken::try_new().map_err(host)?,
            aside: CancelToken::try_new().map_err(host)?,
            refusal: Mutex::default(),
        };
        thread::scope(|scope| {
            scope.spawn(|| forward(cancel, &signals));
            scope.spawn(|| self.ask(engine, &signals));
            scope.spawn(|| self.send_all(engine, (sink, &signals.aside)));
            let outcome = work(&signals.steps);
            self.close();
            signals.aside.cancel();
            let mut refusal = signals
                .refusal
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            match (outcome, refusal.take()) {
                (Err(error), Some(refusal)) if error.kind() == crate::ErrorKind::Cancelled => {
                    Err(if cancel.is_cancelled() {
                        error
                    } else {
                        refusal
                    })
                }
                (outcome, _) => outcome,
            }
        })
    }

    /// Asks every registry whether it would take a push.
    fn ask(&self, engine: &Engine, signals: &Signals) {
        // Of a build that is over before there is nothing to save.
        if signals.aside.wait(WORTH_ASKING).is_err() {
            return;
        }
        for (_, target) in &self.targets {
            for name in target.repositories() {
                let Ok(client) = target.client(engine, name) else {
                    return;
                };
                let Err(error) = client.check_push(name, &signals.aside) else {
                    continue;
                };
                if !is_final(&error) {
                    tracing::debug!(%name, %error, "a push may not be let in");
                    continue;
                }
                let refusal = BuildError::push(name, error)
                    .help("the registry was asked before the build was done, so that it is not done in vain");
                let mut slot = signals
                    .refusal
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *slot = Some(refusal);
                signals.steps.cancel();
                return;
            }
        }
    }

    /// Sends layers until there are no more, as a step of its own if there are any.
    fn send_all(&self, engine: &Engine, (sink, cancel): (&dyn Sink, &CancelToken)) {
        if !self.queue.0.has_some() {
            return;
        }
        self.queue.0.extend(self.present_bases(engine));
        let sent = announced(sink, "pushing finished layers", |key| {
            thread::scope(|scope| {
                for _ in 0..SENDERS {
                    scope.spawn(|| self.send(engine, (sink, key, cancel)));
                }
            });
            Ok::<_, BuildError>(())
        });
        debug_assert!(sent.is_ok());
    }

    /// The layers of bases whose bytes are here, since a step needed them. The others may never be needed:
    /// at the end the registry is asked first.
    fn present_bases(&self, engine: &Engine) -> impl Iterator<Item = Ready> {
        self.bases.iter().filter_map(|layer| {
            let original = engine.layers().original(layer).ok()??;
            let is_here = engine.store().has_blob(&original.descriptor.digest);
            is_here.then_some(Ready {
                layer: *layer,
                blob: original.descriptor,
                compression: None,
            })
        })
    }

    fn send(&self, engine: &Engine, cx: (&dyn Sink, &VertexKey, &CancelToken)) {
        while let Some(ready) = self.queue.0.next() {
            let targets = self.targets.iter();
            for (_, target) in targets.filter(|(options, _)| ready.is_for(options)) {
                for name in target.repositories() {
                    if let Err(error) = send_one(engine, (target, name), &ready, cx) {
                        tracing::debug!(layer = %ready.layer, %name, %error, "not sent ahead");
                    }
                }
            }
        }
    }
}

/// The process can open no further descriptor.
#[derive(Debug, thiserror::Error)]
#[error("watch for cancellation")]
struct Opened(#[source] std::io::Error);

fn send_one(
    engine: &Engine,
    (target, name): (&Target, &Reference),
    ready: &Ready,
    (sink, vertex, cancel): (&dyn Sink, &VertexKey, &CancelToken),
) -> Result<()> {
    let blob = wanted(engine, name, (&ready.blob, Some(&ready.layer)))?;
    let cx = PushContext {
        store: engine.store(),
        supply: &InStore,
        sink,
        vertex,
        cancel,
    };
    target.client(engine, name)?.push_blob(name, &blob, &cx)?;
    Ok(())
}

/// Whether waiting helps nothing.
fn is_final(error: &rbuild_registry::Error) -> bool {
    use rbuild_registry::Error as E;
    matches!(
        error,
        E::PushDenied { .. }
            | E::Denied { .. }
            | E::Credentials { .. }
            | E::UnknownRepository { .. }
            | E::PlainHttp { .. }
            | E::Tls { .. }
            | E::Unreachable { .. }
    )
}

/// Hands a cancellation on to all that runs, until the work is over.
fn forward(cancel: &CancelToken, signals: &Signals) {
    cancel.wait_either(&signals.aside);
    if cancel.is_cancelled() {
        signals.steps.cancel();
        signals.aside.cancel();
    }
}
