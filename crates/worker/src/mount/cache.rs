//! `--mount=type=cache`: a directory that outlives the build.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rbuild_graph::{ExecMount, ExecMountKind, Sharing};
use rbuild_layer::{FileView, NodeKind, path};
use rbuild_sandbox::MountSource;
use rbuild_solver::OpContext;
use rbuild_source::{Selection, content_of, select_path};

use super::StepMounts;
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
                let view = self.view_of(base, cx.cancel)?;
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
        let cache = self.store.cache_mount(&name)?;
        let mounted = cache.mount(
            match sharing {
                Sharing::Shared => rbuild_store::Sharing::Shared,
                Sharing::Private => rbuild_store::Sharing::Private,
                Sharing::Locked => rbuild_store::Sharing::Locked,
            },
            cx.cancel,
            |dir| {
                if let Some((view, selection)) = &first {
                    fill(dir, view.as_ref(), selection)?;
                }
                if let Some(mode) = mode {
                    fs::set_permissions(dir, fs::Permissions::from_mode(*mode))?;
                }
                if uid.is_some() || gid.is_some() {
                    let (uid, gid) = (uid.unwrap_or(0), gid.unwrap_or(0));
                    std::os::unix::fs::chown(dir, Some(uid), Some(gid))?;
                }
                Ok(())
            },
        )?;
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

/// Writes a selection into a new cache directory.
fn fill(dir: &Path, view: &dyn FileView, selection: &Selection) -> io::Result<()> {
    for item in selection.roots.iter().flat_map(|root| &root.items) {
        let to = if item.rel.is_empty() {
            dir.to_owned()
        } else {
            dir.join(path::to_path(&item.rel))
        };
        match &item.node.kind {
            NodeKind::Dir if item.rel.is_empty() => {}
            NodeKind::Dir => fs::create_dir(&to)?,
            NodeKind::File { .. } => {
                let mut from = view.open(&item.path).map_err(io::Error::other)?;
                io::copy(&mut from, &mut fs::File::create_new(&to)?)?;
            }
            NodeKind::Symlink { target } => {
                std::os::unix::fs::symlink(path::to_path(target), &to)?;
                continue;
            }
            _ => continue,
        }
        std::os::unix::fs::lchown(&to, Some(item.node.uid), Some(item.node.gid))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(item.node.mode))?;
    }
    Ok(())
}
