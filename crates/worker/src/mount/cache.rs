//! `--mount=type=cache`: a directory that outlives the build.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder};

use rbuild_graph::{ExecMount, ExecMountKind, ExecOp, Sharing};
use rbuild_layer::{FileView, Filling, Top};
use rbuild_sandbox::MountSource;
use rbuild_solver::OpContext;
use rbuild_source::{Selection, content_of, select_path};
use rbuild_store::MountedCache;

use super::StepMounts;
use crate::file::EmptyView;
use crate::{LocalWorker, Output, Result};

/// Mounts that are brought from elsewhere at the same time.
const AT_ONCE: usize = 4;

/// A cache mount as a step wants it.
struct Wanted<'a> {
    id: &'a str,
    shape: Shape,
    first: Option<First>,
    sharing: rbuild_store::Sharing,
    /// Where in the directory it begins.
    source: &'a str,
}

impl LocalWorker<'_> {
    /// Takes the directories of all cache mounts of a step; returns what each shows, by its place in the list.
    ///
    /// They are taken in the order of their names, whatever that of the mounts: two steps that want the same
    /// ones would wait for each other otherwise. Mounts of one directory take it once, as in BuildKit; a step
    /// would wait for itself.
    pub(super) fn caches(
        &self,
        mounts: &[ExecMount],
        inputs: &[Output],
        all: &mut StepMounts,
        cx: &OpContext<'_>,
    ) -> Result<BTreeMap<usize, MountSource>> {
        let mut by_name: BTreeMap<String, Vec<(usize, Wanted<'_>)>> = BTreeMap::new();
        for (place, mount) in mounts.iter().enumerate() {
            if let Some(wanted) = self.wanted(mount, inputs, cx)? {
                let name = self.place_name(&wanted, cx)?;
                by_name.entry(name).or_default().push((place, wanted));
            }
        }
        self.restore_at_once(&by_name, cx);
        let mut shown = BTreeMap::new();
        for mut same in by_name.into_values() {
            let is_locked =
                |(_, wanted): &(usize, Wanted<'_>)| wanted.sharing == rbuild_store::Sharing::Locked;
            let any_locked = same.iter().any(is_locked);
            let Some((_, first)) = same.first_mut() else {
                continue;
            };
            if any_locked {
                first.sharing = rbuild_store::Sharing::Locked;
            }
            let taken = self.taken(first, cx);
            // A fill that was interrupted is no failure of the store.
            cx.cancel.check()?;
            let (mounted, inode) = taken?;
            shown.extend(same.iter().map(|(place, wanted)| {
                let source = MountSource::Within {
                    directory: mounted.path().to_owned(),
                    inode,
                    subpath: wanted.subpath().to_owned(),
                };
                (*place, source)
            }));
            all.caches.push(mounted);
        }
        Ok(shown)
    }

    /// What a mount wants, if it is a cache mount.
    fn wanted<'a>(
        &self,
        mount: &'a ExecMount,
        inputs: &[Output],
        cx: &OpContext<'_>,
    ) -> Result<Option<Wanted<'a>>> {
        let ExecMountKind::Cache {
            id,
            input,
            source,
            sharing,
            mode,
            uid,
            gid,
            ..
        } = &mount.kind
        else {
            return Ok(None);
        };
        let first = match input.and_then(|at| inputs.get(at)) {
            None => None,
            Some(base) => {
                let view = self.view_of(base, cx)?;
                let selection = select_path(view.as_ref(), source, cx.cancel)?;
                Some((view, selection))
            }
        };
        Ok(Some(Wanted {
            id,
            shape: (*mode, *uid, *gid),
            first,
            sharing: match sharing {
                Sharing::Shared => rbuild_store::Sharing::Shared,
                Sharing::Private => rbuild_store::Sharing::Private,
                Sharing::Locked => rbuild_store::Sharing::Locked,
            },
            source,
        }))
    }

    /// A name that two mounts have if they are one directory.
    fn place_name(&self, wanted: &Wanted<'_>, cx: &OpContext<'_>) -> Result<String> {
        match self.cache_dirs.get(wanted.id) {
            Some(dir) => Ok(format!("directory {:?}", dir.inode())),
            None => name_of(wanted.id, wanted.shape, wanted.first.as_ref(), cx),
        }
    }

    /// Waits for the directory behind a mount; for one of the host also its device and inode.
    fn taken(
        &self,
        wanted: &Wanted<'_>,
        cx: &OpContext<'_>,
    ) -> Result<(MountedCache, Option<(u64, u64)>)> {
        if let Some(dir) = self.cache_dirs.get(wanted.id) {
            let fill = |dir: &Path| self.fill_cache(dir, wanted, cx);
            let taken = self
                .store
                .mount_host_dir(dir, wanted.sharing, cx.cancel, fill)?;
            if let Some(mounted) = taken {
                return Ok((mounted, Some(dir.inode())));
            }
        }
        let name = name_of(wanted.id, wanted.shape, wanted.first.as_ref(), cx)?;
        let cache = self.store.cache_mount(&name)?;
        self.store.note_use(&format!("mount {name}"));
        if let Some(elsewhere) = self.mounts_elsewhere {
            elsewhere.used(&name, wanted.id);
        }
        let begin = |dir: &Path| self.begin(dir, &name, wanted, cx);
        Ok((cache.mount(wanted.sharing, cx.cancel, begin)?, None))
    }

    /// Brings the new ones among several from elsewhere side by side, as far as nobody else is at them.
    ///
    /// They are not held: they are taken one after the other when all are here. What fails is tried again
    /// then, and told.
    fn restore_at_once(
        &self,
        by_name: &BTreeMap<String, Vec<(usize, Wanted<'_>)>>,
        cx: &OpContext<'_>,
    ) {
        if self.mounts_elsewhere.is_none() {
            return;
        }
        let new = by_name.iter().filter_map(|(name, same)| {
            let (_, wanted) = same.first()?;
            if self.cache_dirs.contains_key(wanted.id) {
                return None;
            }
            let cache = self.store.cache_mount(name).ok()?;
            (!cache.is_filled()).then_some((name, wanted, cache))
        });
        // People are told of each by its id; those that share one follow.
        let mut ids = BTreeSet::new();
        let new: Vec<_> = new.filter(|(_, wanted, _)| ids.insert(wanted.id)).collect();
        if new.len() < 2 {
            return;
        }
        let next = AtomicUsize::new(0);
        let one_by_one = || {
            while let Some((name, wanted, cache)) = new.get(next.fetch_add(1, Ordering::Relaxed)) {
                let begun = cache.fill_ahead(|dir| self.begin(dir, name, wanted, cx));
                if let Err(error) = begun {
                    tracing::debug!(%error, name, "a cache mount is not there ahead");
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..new.len().min(AT_ONCE) {
                let spawned = Builder::new().spawn_scoped(scope, one_by_one);
                if let Err(error) = spawned {
                    tracing::debug!(%error, "no further thread for cache mounts");
                }
            }
        });
    }

    /// Makes a new directory of the mount that the store calls `name` what it is to be at first: what it is
    /// elsewhere, else what the mount says.
    fn begin(
        &self,
        dir: &Path,
        name: &str,
        wanted: &Wanted<'_>,
        cx: &OpContext<'_>,
    ) -> io::Result<()> {
        if let Some(elsewhere) = self.mounts_elsewhere
            && elsewhere.restore(name, wanted.id, dir, cx.cancel)?
        {
            return Ok(());
        }
        self.fill_cache(dir, wanted, cx)
    }

    /// Makes a new directory what the mount says.
    fn fill_cache(&self, dir: &Path, wanted: &Wanted<'_>, cx: &OpContext<'_>) -> io::Result<()> {
        let first = wanted.first.as_ref();
        let top = top_of(first.map(|(_, from)| from), wanted.shape);
        let filled = match first {
            Some((view, from)) => {
                self.layers
                    .fill((dir, top), view.as_ref(), &parts(from), cx.cancel)
            }
            None if top == NEW => Ok(()),
            None => self.layers.fill((dir, top), &EmptyView, &[], cx.cancel),
        };
        filled.map_err(io::Error::other)
    }
}

impl Wanted<'_> {
    /// What a `from` gives is filled in from `source` on; without one, `source` is in the cache itself.
    ///
    /// Steps can write there, so the path is followed inside the directory only.
    fn subpath(&self) -> &str {
        match &self.first {
            Some(_) => "/",
            None => self.source,
        }
    }
}

/// Mode, user and group as asked for.
type Shape = (Option<u32>, Option<u32>, Option<u32>);

/// What fills a new directory: a view, and what of it.
type First = (Box<dyn FileView>, Selection);

/// Names the directory: who fills or shapes one differently gets a different one, as in BuildKit.
fn name_of(id: &str, shape: Shape, first: Option<&First>, cx: &OpContext<'_>) -> Result<String> {
    Ok(match first {
        None => name_of_empty(id, shape),
        Some((view, selection)) => {
            let content = content_of(view.as_ref(), selection, cx.cancel)?;
            let (mode, uid, gid) = shape;
            format!("{id} {mode:?} {uid:?} {gid:?} {content}")
        }
    })
}

/// The name of a directory that nothing fills.
fn name_of_empty(id: &str, (mode, uid, gid): Shape) -> String {
    match format!("{mode:?} {uid:?} {gid:?}").as_str() {
        "None None None" => id.to_owned(),
        shape => format!("{id} {shape}"),
    }
}

/// The cache mounts of a step: what the store calls each, and what the Dockerfile does.
///
/// Without those that `from` fills: their names hang on its files, which only a step that runs looks at.
pub fn cache_mounts(exec: &ExecOp) -> impl Iterator<Item = (String, &str)> {
    exec.mounts.iter().filter_map(|mount| match &mount.kind {
        ExecMountKind::Cache {
            id,
            input: None,
            mode,
            uid,
            gid,
            ..
        } => Some((name_of_empty(id, (*mode, *uid, *gid)), id.as_str())),
        _ => None,
    })
}

/// What a new directory is without doing anything.
const NEW: Top = Top {
    mode: 0o755,
    uid: 0,
    gid: 0,
};

/// Owner and mode of the directory: as asked for, else those of the directory that fills it.
fn top_of(from: Option<&Selection>, (mode, uid, gid): Shape) -> Top {
    let mut items = from
        .iter()
        .flat_map(|from| &from.roots)
        .flat_map(|root| &root.items);
    let below = match items.find(|item| item.rel.is_empty()) {
        Some(item) => Top {
            mode: item.node.mode,
            uid: item.node.uid,
            gid: item.node.gid,
        },
        None => NEW,
    };
    // Who names one of both ids means root by the other.
    let (uid, gid) = match (uid, gid) {
        (None, None) => (below.uid, below.gid),
        (uid, gid) => (uid.unwrap_or(0), gid.unwrap_or(0)),
    };
    Top {
        mode: mode.unwrap_or(below.mode),
        uid,
        gid,
    }
}

/// What a selection puts into the directory.
fn parts(selection: &Selection) -> Vec<Filling> {
    let items = selection.roots.iter().flat_map(|root| &root.items);
    let below = items.filter(|item| !item.rel.is_empty());
    below
        .map(|item| Filling {
            from: item.path.clone(),
            to: item.rel.clone(),
            node: item.node.clone(),
        })
        .collect()
}
