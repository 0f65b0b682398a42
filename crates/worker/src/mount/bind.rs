//! `--mount=type=bind`: a path of a stage, an image or a local directory.

use std::time::Instant;

use rbuild_graph::ExecMount;
use rbuild_layer::{Form, LayerId, NewLayer, path};
use rbuild_sandbox::MountSource;
use rbuild_solver::OpContext;
use rbuild_source::{LocalContext, select_path, tree_content};
use rbuild_store::Table;

use super::StepMounts;
use crate::file::{self, Draft, EmptyView};
use crate::{Error, LocalWorker, Output, Result};

/// What a bound path of a local directory is called inside the layer that is made of it.
const BOUND: &str = "bound";

impl LocalWorker<'_> {
    pub(super) fn bind(
        &self,
        mount: &ExecMount,
        (input, source): (&Output, &str),
        all: &mut StepMounts,
        cx: &OpContext<'_>,
    ) -> Result<()> {
        let (stack, subpath) = match input {
            Output::Layers(stack) => (stack.to_vec(), source.to_owned()),
            // What the ignore rules hide must stay hidden, so the directory itself is never shown.
            Output::Local(local) => {
                let layer = self.bound_layer(local, source, cx)?;
                (vec![layer], format!("/{BOUND}"))
            }
            // The frontend mounts the layer that it was copied into.
            Output::Web(_) => return Err(Error::Input),
        };
        let lowers = self.layers.lowers(&stack, cx.cancel)?;
        let upper = if mount.read_only {
            None
        } else {
            Some(self.scratch(all)?)
        };
        all.add(
            mount,
            MountSource::Overlay {
                lowers,
                subpath,
                upper,
            },
        );
        Ok(())
    }

    /// Directories that take the writes of a bind mount and vanish with the step.
    fn scratch(&self, all: &mut StepMounts) -> Result<(std::path::PathBuf, std::path::PathBuf)> {
        let staged = self.store.stage_dir()?;
        let (upper, work) = (staged.path().join("upper"), staged.path().join("work"));
        for dir in [&upper, &work] {
            std::fs::create_dir(dir).map_err(|source| Error::Io {
                attempt: "make",
                path: dir.clone(),
                source,
            })?;
        }
        all.scratch.push(staged);
        Ok((upper, work))
    }

    /// A layer that holds exactly what `source` shows of a local directory; made once per content.
    fn bound_layer(
        &self,
        local: &LocalContext,
        source: &str,
        cx: &OpContext<'_>,
    ) -> Result<LayerId> {
        let key = format!("bound {}", tree_content(local, source, cx.cancel)?);
        if let Some(known) = self.store.get(Table::Contents, &key)?
            && let Some(layer) = std::str::from_utf8(&known)
                .ok()
                .and_then(|s| s.parse().ok())
            && self.layers.hold(&layer, &self.lease)?
        {
            self.store.note_use(&layer.to_string());
            return Ok(layer);
        }
        let begun = Instant::now();
        // Nothing but a mount will ever ask for it.
        let form = Form::Tree { below: &[] };
        let layer = drawn(local, source, cx)?;
        let layer = self.layers.commit_files_as(layer, form, cx.cancel)?;
        self.store
            .put(Table::Contents, &key, layer.to_string().as_bytes())?;
        self.store.note_made(&layer.to_string(), begun.elapsed());
        Ok(layer)
    }
}

fn drawn(local: &LocalContext, source: &str, cx: &OpContext<'_>) -> Result<NewLayer> {
    let selection = select_path(local, source, cx.cancel)?;
    let mut draft = Draft::new(&EmptyView);
    for item in selection.roots.iter().flat_map(|root| &root.items) {
        let at = if item.rel.is_empty() {
            BOUND.as_bytes().to_vec()
        } else {
            path::join(BOUND.as_bytes(), &item.rel)
        };
        file::put_as_is(&mut draft, local, item, &at)?;
    }
    Ok(draft.finish()?)
}
