//! The caches elsewhere of one build: asked for what the store lacks, told at the end what is new.
//!
//! Nothing that goes wrong here fails the build: it warns. A layer that was counted on and cannot be had after
//! all is forgotten, and the steps are gone through again without it.

mod mounts;
mod others;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_cache::{
    Exporter, Imports, Loss, Mode, RemoteIndex, Results, Summary, Told, Used, Written, inline,
};
use rbuild_graph::Graph;
use rbuild_layer::{Compression, LayerId};
use rbuild_oci::Descriptor;
use rbuild_progress::{CancelToken, Event, Sink, WarningNote};
use rbuild_solver::{CacheIndex, CacheKey};
use rbuild_store::Store;
use rbuild_worker::{Cached, Made};

use self::mounts::TravellingMounts;
use self::others::Others;
use crate::engine::Engine;
use crate::image_config::BuiltImage;
use crate::step::announced;
use crate::{BuildError, BuildRequest, ErrorKind, Result, deliver};

/// How often steps are gone through again for want of layers, before no cache is asked any more.
pub(crate) const MOST_LOSSES: usize = 8;

/// The caches elsewhere of one build.
pub(crate) struct Caches<'a> {
    request: &'a BuildRequest,
    imports: Imports<'a>,
    exporter: Option<Arc<Exporter>>,
    /// Whether images say which step each of their layers is the result of.
    inline: bool,
    /// The cache mounts that steps used, by what the store calls them.
    mounts: Mutex<BTreeMap<String, String>>,
}

impl<'a> Caches<'a> {
    /// Opens what a request names. Does no I/O. Errors: [`ErrorKind::Usage`].
    pub fn open(
        engine: &Engine,
        request: &'a BuildRequest,
        telling: &'a Telling<'a>,
    ) -> Result<Self> {
        let usage = |error| BuildError::caused(ErrorKind::Usage, error);
        let cache = &request.cache;
        let imports = Imports::new(&cache.from, engine.places(), cache.trust.clone(), telling);
        let usual = deliver::asked(request).compressions.first().copied();
        let exporter = if cache.to.iter().all(|to| to.place.is_inline()) {
            None
        } else {
            let writing = (cache.writer.clone(), usual.unwrap_or(Compression::ZSTD));
            let layers = engine.layers().clone();
            let exporter = Exporter::new(&cache.to, engine.places(), layers, writing);
            Some(Arc::new(exporter.map_err(usage)?))
        };
        Ok(Self {
            request,
            imports: imports.map_err(usage)?,
            exporter,
            inline: is_inline(request),
            mounts: Mutex::default(),
        })
    }

    /// Whether the build has none.
    pub fn is_empty(&self) -> bool {
        self.imports.is_empty() && self.exporter.is_none() && !self.inline
    }

    /// Writes records into an image's config, if that is asked for.
    pub fn write_inline(
        &self,
        engine: &Engine,
        used: &BTreeMap<CacheKey, Used>,
        image: &mut BuiltImage,
    ) -> Result<()> {
        if !self.inline {
            return Ok(());
        }
        let results = Results {
            used,
            rung: engine.rung(),
            in_result: &image.layers.iter().copied().collect(),
            mounts: &BTreeMap::new(),
            idle_mounts: &BTreeMap::new(),
            lost: &BTreeSet::new(),
            budget: None,
        };
        let layers = (&image.config, image.layers.as_slice());
        let key = self.request.cache.writer.key.as_deref();
        let records = inline::records(engine.layers(), &results, layers, key);
        let records = records.map_err(|error| BuildError::caused(ErrorKind::Build, error))?;
        if let Some(records) = records {
            image.config.other.insert(inline::KEY.to_owned(), records);
        }
        Ok(())
    }

    /// Cache mounts as steps ask for them; `None` if no cache is read or written.
    pub fn mounts<'m>(
        &'m self,
        engine: &'m Engine,
        sink: &'m dyn Sink,
    ) -> Option<TravellingMounts<'m>> {
        let mounts = TravellingMounts {
            imports: &self.imports,
            used: &self.mounts,
            engine,
            sink,
        };
        (!self.is_empty()).then_some(mounts)
    }

    /// What is asked of the layers of steps.
    pub fn asked(&self) -> Cached {
        let mut cached = Cached::default();
        for (compression, mode) in self.exporter.iter().flat_map(|exporter| exporter.asked()) {
            match mode {
                Mode::Min => cached.of_result.insert(compression),
                Mode::Max => cached.of_all.insert(compression),
            };
        }
        cached
    }

    /// Who is told of compressed layers.
    pub fn listener(&self) -> Option<Arc<dyn Made>> {
        let exporter = self.exporter.as_ref()?;
        Some(Arc::new(Listener(Arc::clone(exporter))))
    }

    /// The solver's index over `local` and the caches that are read.
    pub fn index<'i>(
        &'i self,
        local: &'i dyn CacheIndex,
        engine: &'i Engine,
        cancel: &'i CancelToken,
    ) -> RemoteIndex<'i> {
        let here = (engine.layers(), engine.rung());
        RemoteIndex::new(local, here, (&self.imports, cancel))
    }

    /// What other machines left, to explain misses with.
    pub fn others<'o>(&'o self, store: &'o Store, cancel: &'o CancelToken) -> Others<'o> {
        Others {
            imports: &self.imports,
            store,
            cancel,
        }
    }

    /// Forgets what was counted on in vain, if that is why the build failed; tells whether to try again.
    pub fn give_up(
        &self,
        engine: &Engine,
        error: &BuildError,
        (times, cancel): (usize, &CancelToken),
    ) -> Result<bool> {
        let Some(lost) = Loss::among(error) else {
            return Ok(false);
        };
        if cancel.is_cancelled() || times > MOST_LOSSES {
            return Ok(false);
        }
        let is_whole = lost.is_whole_place || times == MOST_LOSSES;
        let forgotten = engine.layers().forget_imported(
            |original| {
                let is_there = lost.concerns(&original.descriptor.digest, &original.origin);
                is_there || (times == MOST_LOSSES && lost.is_same_place(&original.origin))
            },
            lost.is_bad,
            cancel,
        )?;
        if is_whole {
            self.imports.give_up_place(lost.place);
        }
        if lost.is_bad || !is_whole {
            self.imports.give_up_blob(lost.digest);
        }
        tracing::debug!(forgotten, place = lost.place, "layers of a cache are lost");
        self.imports.warn(&format!(
            "{}; what it holds is made again",
            chain(lost.error)
        ));
        // Without anything to forget the next try would fail the same way.
        Ok(forgotten > 0)
    }

    /// Writes the caches that the request names.
    pub fn export(
        &self,
        engine: &Engine,
        graph: &Graph,
        (used, in_result): (&BTreeMap<CacheKey, Used>, &BTreeSet<LayerId>),
        (sink, cancel): (&dyn Sink, &CancelToken),
    ) {
        let Some(exporter) = &self.exporter else {
            return;
        };
        let used_mounts = self.mounts.lock().unwrap_or_else(PoisonError::into_inner);
        let used_mounts = used_mounts.clone();
        let results = Results {
            used,
            rung: engine.rung(),
            in_result,
            mounts: &used_mounts,
            idle_mounts: &mounts::idle(graph, &used_mounts, self.request),
            lost: &self.imports.lost_blobs(),
            budget: self.request.cache.budget,
        };
        let done = announced(sink, "exporting cache", |_| {
            let written = exporter.finish(&results, cancel);
            let mut failure = None;
            for (place, written) in written {
                match written {
                    Ok(written) => tell_written(&place, &written, sink),
                    Err(error) => failure = Some((place, error)),
                }
            }
            failure.map_or(Ok(()), |(place, error)| {
                Err(format!("{place}: {}", chain(&error)))
            })
        });
        if let Err(reason) = done
            && !cancel.is_cancelled()
        {
            warn(sink, &format!("the cache was not written: {reason}"));
        }
    }
}

/// Whether a build is asked to write records into its images, in one of the two ways that BuildKit knows.
fn is_inline(request: &BuildRequest) -> bool {
    let argument = request.build_args.get("BUILDKIT_INLINE_CACHE");
    let is_on = |text: &String| matches!(text.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True");
    argument.is_some_and(is_on) || request.cache.to.iter().any(|to| to.place.is_inline())
}

fn tell_written(place: &str, written: &Written, sink: &dyn Sink) {
    tracing::debug!(?written, place, "cache written");
    if written.left_out > 0 {
        let text = format!(
            "{} results were not sent to the cache {place}: --cache-budget was used up",
            written.left_out
        );
        warn(sink, &text);
    }
    for (id, sent) in &written.mounts {
        if let Some(reason) = mounts::why_not_sent(sent) {
            let text = format!("the cache mount {id} was not sent to the cache {place}: {reason}");
            warn(sink, &text);
        }
    }
}

/// Tells people how reading goes.
pub(crate) struct Telling<'a> {
    pub sink: &'a dyn Sink,
}

impl Told for Telling<'_> {
    fn reading(&self, place: &str, read: &mut dyn FnMut() -> rbuild_cache::Result<Summary>) {
        let name = format!("importing cache manifest from {place}");
        let read = announced(self.sink, &name, |_| {
            read().map_err(|error| match error {
                rbuild_cache::Error::Cancelled => "cancelled".to_owned(),
                other => chain(&other),
            })
        });
        match read {
            Err(reason) if reason == "cancelled" => {}
            Err(reason) => self.warn(&format!("the cache {place} is not used: {reason}")),
            Ok(summary) => {
                for (doubt, count) in &summary.doubts {
                    self.warn(&format!(
                        "{count} entries of the cache {place} are left out: {}",
                        doubt.text()
                    ));
                }
                if summary.unreadable > 0 {
                    let count = summary.unreadable;
                    self.warn(&format!(
                        "{count} lines of the cache {place} cannot be read and are left out"
                    ));
                }
            }
        }
    }

    fn warn(&self, text: &str) {
        warn(self.sink, text);
    }
}

fn warn(sink: &dyn Sink, text: &str) {
    sink.send(Event::Warning(WarningNote {
        vertex: None,
        short: format!("RemoteCache: {text}"),
        detail: Vec::new(),
        url: None,
        file: None,
        line: None,
        end_line: None,
    }));
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Hands compressed layers to the exporter.
struct Listener(Arc<Exporter>);

impl Made for Listener {
    fn compressed(&self, layer: &LayerId, compression: Compression, form: &Descriptor) {
        self.0.layer_ready(layer, compression, form);
    }
}
