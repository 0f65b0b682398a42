//! `--mount=type=cache`: a directory that outlives the build.

use std::io;

use rbuild_graph::{ExecMount, ExecMountKind, Sharing};
use rbuild_layer::{Filling, Top};
use rbuild_sandbox::MountSource;
use rbuild_solver::OpContext;
use rbuild_source::{Selection, content_of, select_path};

use super::StepMounts;
use crate::file::EmptyView;
use crate::{Error, LocalWorker, Output, Result};

impl LocalWorker {
    pub(super) fn cache(
        &self,
        mount: &ExecMount,
        inputs: &[Output],
        all: &mut StepMounts,
        cx: &OpContext<'_>,
    ) -> Result<()> {
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
            return Err(Error::Input);
        };
        let first = match input.and_then(|at| inputs.get(at)) {
            None => None,
            Some(base) => {
                let view = self.view_of(base, cx)?;
                let selection = select_path(view.as_ref(), source, cx.cancel)?;
                Some((view, selection))
            }
        };
        // Who fills or shapes a directory differently gets a different one, as in BuildKit.
        let shape = format!("{mode:?} {uid:?} {gid:?}");
        let name = match &first {
            None if shape == "None None None" => id.clone(),
            None => format!("{id} {shape}"),
            Some((view, selection)) => {
                let content = content_of(view.as_ref(), selection, cx.cancel)?;
                format!("{id} {shape} {content}")
            }
        };
        let shaped = (*mode, *uid, *gid);
        let cache = self.store.cache_mount(&name)?;
        let mounted = cache.mount(
            match sharing {
                Sharing::Shared => rbuild_store::Sharing::Shared,
                Sharing::Private => rbuild_store::Sharing::Private,
                Sharing::Locked => rbuild_store::Sharing::Locked,
            },
            cx.cancel,
            |dir| {
                let filled = match &first {
                    Some((view, from)) => {
                        let top = top_of(Some(from), shaped);
                        let parts = parts(from);
                        self.layers
                            .fill((dir, top), view.as_ref(), &parts, cx.cancel)
                    }
                    None => match top_of(None, shaped) {
                        NEW => Ok(()),
                        top => self.layers.fill((dir, top), &EmptyView, &[], cx.cancel),
                    },
                };
                filled.map_err(io::Error::other)
            },
        );
        // A fill that was interrupted is no failure of the store.
        cx.cancel.check()?;
        let mounted = mounted?;
        let directory = mounted.path().to_owned();
        // What a `from` gives is filled in from `source` on; without one, `source` is in the cache
        // itself. Steps can write there, so the path is followed inside the directory only.
        let shown = match &first {
            Some(_) => MountSource::Dir(directory),
            None => MountSource::Within {
                directory,
                subpath: source.clone(),
            },
        };
        all.add(mount, shown);
        all.caches.push(mounted);
        Ok(())
    }
}

/// What a new directory is without doing anything.
const NEW: Top = Top {
    mode: 0o755,
    uid: 0,
    gid: 0,
};

/// Owner and mode of the directory: as asked for, else those of the directory that fills it.
fn top_of(
    from: Option<&Selection>,
    (mode, uid, gid): (Option<u32>, Option<u32>, Option<u32>),
) -> Top {
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
