//! Writing caches: layers go while later steps run, the index at the end.
//!
//! One file per noun below `export/`: a place that is written, and what goes there.

mod lists;
mod mounts;
mod target;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rbuild_layer::{Compression, LayerId, LayerStore};
use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::{Backlog, CancelToken};
use rbuild_solver::CacheKey;

use crate::option::CacheTo;
use crate::place::Places;
use crate::remote::Used;
use crate::trust::SigningKey;
use crate::{Error, Result};
pub use mounts::MountSent;
use target::Target;
use wanted::Wanted;
pub(crate) use wanted::wanted;

/// Blobs that are sent at the same time while steps run.
const SENDERS: usize = 3;

/// Who writes.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    /// What they call themselves.
    pub name: String,
    /// What they vouch with.
    pub key: Option<Arc<SigningKey>>,
}

/// Sends what a build makes to the caches that it writes. Dropping it stops the work and waits.
pub struct Exporter {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    layers: LayerStore,
    targets: Vec<Target>,
    writer: Writer,
    ready: Backlog<(LayerId, Compression, Descriptor)>,
    cancel: CancelToken,
}

/// What is written at the end of a build.
#[derive(Debug, Clone, Copy)]
pub struct Results<'a> {
    /// What the build used and made, by key.
    pub used: &'a BTreeMap<CacheKey, Used>,
    /// What goes before every key.
    pub rung: &'a str,
    /// The layers of its results.
    pub in_result: &'a BTreeSet<LayerId>,
    /// The cache mounts that it used: what the Dockerfile calls them by what the store does.
    pub mounts: &'a BTreeMap<String, String>,
    /// Those of its steps that did not run, likewise; they go where nothing of that name is yet.
    pub idle_mounts: &'a BTreeMap<String, String>,
    /// Blobs that a cache names and has not: they are sent again.
    pub lost: &'a BTreeSet<Digest>,
    /// How long sending may take from now on; what saves most for its bytes goes first.
    pub budget: Option<Duration>,
}

/// What was written to a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Results that are new there.
    pub new: usize,
    /// Results that were there.
    pub known: usize,
    /// Results that the budget left out.
    pub left_out: usize,
    /// What became of cache mounts that were to be sent, by what the Dockerfile calls them.
    pub mounts: Vec<(String, MountSent)>,
    /// Bytes of blobs that were sent, the index not counted.
    pub sent_bytes: u64,
}

impl Exporter {
    /// Opens the places of `to`, of which inline is none; does no I/O. `usual` is how layers are compressed where nobody says.
    ///
    /// Errors: a place cannot be opened; the process can open no further descriptor.
    pub fn new(
        to: &[CacheTo],
        places: &Places,
        layers: LayerStore,
        (writer, usual): (Writer, Compression),
    ) -> Result<Self> {
        let places_apart = to.iter().filter(|spec| !spec.place.is_inline());
        let targets = places_apart.map(|spec| {
            let backend = places.open(&spec.place)?;
            Ok(Target::new(spec.clone(), backend, usual))
        });
        let cancel = CancelToken::try_new().map_err(Error::at("watch", layers.store().root()))?;
        Ok(Self {
            shared: Arc::new(Shared {
                layers,
                targets: targets.collect::<Result<_>>()?,
                writer,
                ready: Backlog::default(),
                cancel,
            }),
            threads: Mutex::default(),
        })
    }

    /// How layers are compressed for the places, and whether a place takes those of all steps.
    pub fn asked(&self) -> Vec<(Compression, crate::Mode)> {
        let targets = self.shared.targets.iter();
        targets
            .map(|target| (target.compression, target.spec.mode))
            .collect()
    }

    /// A finished layer has a compressed form, which is in the store: it goes on its way.
    ///
    /// What fails here fails again at the end, where it is told.
    pub fn layer_ready(&self, layer: &LayerId, compression: Compression, form: &Descriptor) {
        let takes = |target: &Target| target.compression == compression;
        if !self.shared.targets.iter().any(takes) {
            return;
        }
        if self.shared.ready.push((*layer, compression, form.clone())) {
            self.begin();
        }
    }

    fn begin(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if !threads.is_empty() {
            return;
        }
        for _ in 0..SENDERS {
            let shared = Arc::clone(&self.shared);
            let name = "rbuild-cache".to_owned();
            match Builder::new().name(name).spawn(move || shared.send_ahead()) {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::debug!(%error, "no thread to send layers ahead"),
            }
        }
    }

    /// Sends what is missing and writes the indexes; what came of it by the name of the place.
    pub fn finish(
        &self,
        results: &Results<'_>,
        cancel: &CancelToken,
    ) -> Vec<(String, Result<Written>)> {
        let deadline = results.budget.map(|budget| Instant::now() + budget);
        self.close();
        let shared = &self.shared;
        let wanted = wanted(&shared.layers, results);
        let written = shared.targets.iter().map(|target| {
            let written = wanted.as_ref().map_err(Error::again).and_then(|all| {
                let all: Vec<&Wanted> = all.iter().filter(|one| target.takes(one)).collect();
                shared.write(target, (&all, results), (deadline, cancel))
            });
            (target.name().to_owned(), written)
        });
        written.collect()
    }

    /// Sends nothing more ahead, once what is on its way has arrived.
    fn close(&self) {
        self.shared.ready.close();
        self.join();
    }

    fn join(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A panic in it lost nothing that anybody was promised.
            thread.join().ok();
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.shared.cancel.cancel();
        self.close();
    }
}

impl Shared {
    fn send_ahead(&self) {
        while let Some((layer, compression, form)) = self.ready.next() {
            let takes = |target: &&Target| target.compression == compression;
            for target in self.targets.iter().filter(takes) {
                let sent = target.send(&form, self.layers.store(), &self.cancel);
                if let Err(error) = sent {
                    tracing::debug!(%layer, place = target.name(), %error, "not sent ahead");
                }
            }
        }
    }
}
