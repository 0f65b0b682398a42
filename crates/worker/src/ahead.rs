//! Work on finished layers that an output will ask for, done while later steps run.
//!
//! One thread does it, one layer after the other, so that steps keep most of the machine; whoever
//! needs the same waits for it by the store's work locks. What fails here fails again, and is told,
//! where it is asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use rbuild_layer::{Compression, LayerId, LayerStore};
use rbuild_oci::Descriptor;
use rbuild_progress::{Backlog, CancelToken};

use crate::Early;

/// Hears of what was made ahead, on the thread that makes it: do no work here.
pub trait Made: Send + Sync {
    /// A layer of the result has its compressed form, which is in the store.
    fn compressed(&self, layer: &LayerId, compression: Compression, form: &Descriptor);
}

/// Makes diff ids and compressed forms ahead of the outputs. Dropping it stops the work and waits.
pub struct Ahead {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    layers: LayerStore,
    made: Vec<Arc<dyn Made>>,
    waiting: Backlog<(LayerId, Early)>,
    cancel: CancelToken,
}

impl Ahead {
    /// Begins without a thread: that comes with the first step that runs.
    ///
    /// Errors: the process can open no further descriptor.
    pub fn new(layers: LayerStore) -> std::io::Result<Ahead> {
        Self::telling(layers, Vec::new())
    }

    /// As `new`, and some hear of what was made.
    pub fn telling(layers: LayerStore, made: Vec<Arc<dyn Made>>) -> std::io::Result<Ahead> {
        Ok(Ahead {
            shared: Arc::new(Shared {
                layers,
                made,
                waiting: Backlog::default(),
                cancel: CancelToken::try_new()?,
            }),
            thread: Mutex::default(),
        })
    }

    /// Notes what a finished layer will be asked for.
    pub(crate) fn note(&self, layer: LayerId, early: &Early) {
        self.shared.waiting.push((layer, early.clone()));
    }

    /// Lets the work begin, now that a step runs: in a build from the cache there is nothing to be
    /// ahead of.
    pub(crate) fn begin(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let started = Builder::new()
            .name("rbuild-ahead".to_owned())
            .spawn(move || shared.work());
        match started {
            Ok(started) => *thread = Some(started),
            Err(error) => tracing::debug!(%error, "no thread to work ahead"),
        }
    }

    /// Begins nothing more: the steps are done, and the outputs do the rest with the whole machine.
    ///
    /// What is being made goes on; an output that needs it waits for it.
    pub fn close(&self) {
        self.shared.waiting.close();
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.close();
        self.shared.cancel.cancel();
        let thread = self.thread.get_mut();
        if let Some(thread) = thread.unwrap_or_else(PoisonError::into_inner).take() {
            // A panic in it lost nothing that anybody was promised.
            thread.join().ok();
        }
    }
}

impl Shared {
    fn work(&self) {
        while let Some((layer, early)) = self.waiting.next() {
            if let Err(error) = self.make(&layer, &early) {
                tracing::debug!(%layer, %error, "nothing was made ahead");
            }
        }
    }

    fn make(&self, layer: &LayerId, early: &Early) -> rbuild_layer::Result<()> {
        // The first compression takes the diff id in the same pass.
        for compression in &early.compressions {
            let form = self.layers.compressed(layer, *compression, &self.cancel)?;
            for made in &self.made {
                made.compressed(layer, *compression, &form);
            }
        }
        self.layers.diff_id(layer, &self.cancel).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rbuild_layer::{Compression, Entry, InPlace, Mtime, NewEntry, NewLayer, NoFetch};
    use rbuild_store::Store;

    use super::*;

    fn layers(dir: &std::path::Path) -> LayerStore {
        let store = Arc::new(Store::open(dir).unwrap());
        LayerStore::new(store, Arc::new(InPlace::root()), Arc::new(NoFetch))
    }

    fn layer(layers: &LayerStore, content: &str) -> LayerId {
        let entry = Entry::new("f", rbuild_layer::Kind::Fifo, 0o644, Mtime::from_secs(0));
        let entries = vec![NewEntry::inline(entry, content.as_bytes())];
        let cancel = CancelToken::new();
        layers.commit_files(NewLayer { entries }, &cancel).unwrap()
    }

    fn zstd() -> Early {
        Early {
            compressions: BTreeSet::from([Compression::ZSTD]),
        }
    }

    #[test]
    fn noted_layers_are_compressed_once_a_step_runs() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path());
        let (first, second) = (layer(&layers, "1"), layer(&layers, "2"));
        let ahead = Ahead::new(layers.clone()).unwrap();
        ahead.note(first, &zstd());
        assert!(ahead.thread.lock().unwrap().is_none());
        ahead.begin();
        ahead.note(second, &zstd());
        let has_twin = |layer| !layers.info(layer).unwrap().twins.is_empty();
        while !(has_twin(&first) && has_twin(&second)) {
            std::thread::yield_now();
        }
    }

    /// Keeps what it hears.
    #[derive(Default)]
    struct Heard(Mutex<Vec<(LayerId, Compression, Descriptor)>>);

    impl Made for Heard {
        fn compressed(&self, layer: &LayerId, compression: Compression, form: &Descriptor) {
            let heard = (*layer, compression, form.clone());
            self.0.lock().unwrap().push(heard);
        }
    }

    #[test]
    fn whoever_listens_hears_of_each_form() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path());
        let layer = layer(&layers, "1");
        let heard = Arc::new(Heard::default());
        let ahead = Ahead::telling(layers.clone(), vec![heard.clone()]).unwrap();
        ahead.note(layer, &zstd());
        ahead.begin();
        while heard.0.lock().unwrap().is_empty() {
            std::thread::yield_now();
        }
        let twin = layers.info(&layer).unwrap().twins[&Compression::ZSTD].clone();
        assert_eq!(*heard.0.lock().unwrap(), [(layer, Compression::ZSTD, twin)]);
    }

    #[test]
    fn nothing_begins_after_closing_and_a_failure_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let layers = layers(dir.path());
        let late = layer(&layers, "late");
        let ahead = Ahead::new(layers.clone()).unwrap();
        ahead.note(LayerId::random().unwrap(), &zstd());
        ahead.begin();
        ahead.close();
        ahead.note(late, &zstd());
        drop(ahead);
        assert!(layers.info(&late).unwrap().twins.is_empty());
    }
}
