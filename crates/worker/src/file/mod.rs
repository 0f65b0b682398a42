//! File ops: COPY, ADD, WORKDIR and here-documents as one new layer, computed without a mount.

mod archive;
mod chmod;
mod copy;
mod draft;
mod owner;
mod place;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tree;

use std::collections::BTreeSet;
use std::time::SystemTime;

use rbuild_graph::{FileAction, FileOp, MkdirAction, Owner, Vertex, WriteAction};
use rbuild_layer::{FileView, Form, LayerId, Mtime, NewLayer, Node, NodeKind};
use rbuild_progress::{Event, WarningNote};
use rbuild_solver::OpContext;
use rbuild_source::Item;

use crate::file::draft::Body;
pub(crate) use crate::file::draft::{Draft, EmptyView};
use crate::file::owner::Accounts;
use crate::file::place::Style;
use crate::worker::Source;
use crate::{Error, LocalWorker, MadeAs, Output, Result};

impl LocalWorker<'_> {
    /// Carries out a file op; returns its layer.
    pub(crate) fn file_op(
        &self,
        (op, vertex): (&FileOp, &Vertex),
        inputs: &[Output],
        cx: &OpContext<'_>,
    ) -> Result<LayerId> {
        let base = match op.base.filter(|_| !op.link).and_then(|at| inputs.get(at)) {
            Some(Output::Layers(stack)) => Some(self.layers.view(stack, cx.cancel)),
            _ => None,
        };
        let (view, accounts): (&dyn FileView, Accounts) = match &base {
            Some(view) => (view, Accounts::OfRoot),
            None => (&EmptyView, Accounts::Absent),
        };
        let mut draft = Draft::new(view);
        let mut unknown = BTreeSet::new();
        let now = Mtime::from(SystemTime::now());
        for (at, action) in op.actions.iter().enumerate() {
            cx.cancel.check()?;
            let owner = match action_owner(action) {
                Some(owner) => {
                    let found = owner::look_up(owner, view, accounts)?;
                    unknown.extend(found.unknown);
                    Some(found.ids)
                }
                None => None,
            };
            let mut style = Style {
                owner,
                chmod: None,
                now,
            };
            match action {
                FileAction::Copy(action) => {
                    style.chmod = action.chmod.clone();
                    let input = inputs.get(action.input).ok_or(Error::Input)?;
                    let source = Source {
                        vertex,
                        at,
                        action,
                        input,
                    };
                    let selection = self.selection(&source, cx)?;
                    let source = self.view_of(input, cx)?;
                    let from = copy::From {
                        view: source.as_ref(),
                        store: &self.store,
                        limits: self.limits,
                        cancel: cx.cancel,
                    };
                    copy::copy(&mut draft, &from, action, &selection, &style)?;
                }
                FileAction::Mkdir(action) => mkdir(&mut draft, action, &style)?,
                FileAction::Write(action) => {
                    style.chmod = action.chmod.clone();
                    write(&mut draft, action, &style)?;
                }
            }
        }
        warn_unknown(&unknown, cx);
        let layer: NewLayer = draft.finish()?;
        let below = op
            .base
            .and_then(|at| inputs.get(at))
            .map_or(&[][..], Output::layers);
        let form = match self.form_of(vertex) {
            MadeAs::Blob => Form::Blob,
            MadeAs::Compressed(compression) => Form::Compressed(compression),
            MadeAs::Tree => Form::Tree { below },
        };
        Ok(self.layers.commit_files_as(layer, form, cx.cancel)?)
    }
}

fn action_owner(action: &FileAction) -> Option<&Owner> {
    match action {
        FileAction::Copy(action) => action.owner.as_ref(),
        FileAction::Mkdir(action) => action.owner.as_ref(),
        FileAction::Write(action) => action.owner.as_ref(),
    }
}

fn mkdir(draft: &mut Draft<'_>, action: &MkdirAction, style: &Style) -> Result<()> {
    let mut made = style.parent();
    made.mode = action.mode;
    if let Some(secs) = action.epoch {
        made.mtime = Mtime::from_secs(secs);
    }
    let dir = place::destination(draft, &action.path)?;
    place::make_dirs(draft, &dir, &made)?;
    Ok(())
}

fn write(draft: &mut Draft<'_>, action: &WriteAction, style: &Style) -> Result<()> {
    let name = action.path.as_bytes();
    let target = copy::file_target(draft, &action.dest, action.dest_is_dir, (name, style))?;
    let node = style.dress(Node {
        kind: NodeKind::File {
            size: action.data.len() as u64,
        },
        mode: action.mode,
        mtime: style.now,
        ..Node::root()
    })?;
    let body = draft::inline_body(action.data.clone());
    place::put_file(draft, &target, node, body)
}

fn warn_unknown(names: &BTreeSet<String>, cx: &OpContext<'_>) {
    for name in names {
        cx.sink.send(Event::Warning(WarningNote {
            vertex: Some(cx.key.clone()),
            short: format!(
                "UnknownOwner: {name:?} is not in the image's /etc/passwd or /etc/group; used 0 (root)"
            ),
            detail: vec![
                "BuildKit does the same without a word. Give a number, or create the user first."
                    .to_owned(),
            ],
            url: None,
            file: None,
            line: None,
            end_line: None,
        }));
    }
}

/// Puts an item down with the metadata that it has.
pub(crate) fn put_as_is(
    draft: &mut Draft<'_>,
    view: &dyn FileView,
    item: &Item,
    target: &[u8],
) -> Result<()> {
    let node = Node {
        links: None,
        ..item.node.clone()
    };
    match node.kind {
        NodeKind::Dir => place::put_dir(draft, target, node),
        NodeKind::Socket => place::put_socket(draft, target, node),
        NodeKind::File { .. } => {
            let body = Body::File(view.bytes(&item.path)?, view.content(&item.path)?);
            place::put_file(draft, target, node, body)
        }
        _ => place::put_file(draft, target, node, Body::None),
    }
}
