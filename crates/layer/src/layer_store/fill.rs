//! Filling a directory of the store that is no layer.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rbuild_progress::CancelToken;

use super::LayerStore;
use super::bytes::rewind;
use super::trees::entry_of;
use crate::job::{Top, TreeJob};
use crate::path::to_path;
use crate::tree::{Amended, encode_amended};
use crate::{Error, FileView, Kind, Node, NodeKind, Result};

/// Something of a view that is to be written into a directory.
#[derive(Clone, Debug)]
pub struct Filling {
    /// Where it is in the view.
    pub from: Vec<u8>,
    /// Where it goes below the directory; never empty, parents come before what is in them.
    pub to: Vec<u8>,
    /// What it is.
    pub node: Node,
}

impl LayerStore {
    /// Writes parts of a view into an empty directory, with their owners, and gives the directory its
    /// own owner and mode.
    ///
    /// Done where files may have any owner; with one id all of them belong to it. Sockets are left
    /// out. Errors: those of the view and of the job; the directory then holds rubbish.
    pub fn fill(
        &self,
        (dir, top): (&Path, Top),
        view: &dyn FileView,
        parts: &[Filling],
        cancel: &CancelToken,
    ) -> Result<()> {
        let bytes = self.store().stage_file()?;
        let mut items = Vec::with_capacity(parts.len());
        for part in parts {
            cancel.check()?;
            if part.node.kind == NodeKind::Socket {
                continue;
            }
            let mut entry = entry_of(&part.to, part.node.clone())?;
            if let Kind::File { size, .. } = &mut entry.kind {
                let wrap = |source| Error::io("copy", to_path(&part.from), source);
                // The copied bytes count: a local file may have grown since it was looked at.
                *size = io::copy(&mut view.open(&part.from)?, &mut bytes.file()).map_err(wrap)?;
            }
            items.push(Amended { entry });
        }
        rewind(&bytes)?;
        let list = self.list_file(&encode_amended(&items))?;
        let job = TreeJob::Fill {
            root: dir.to_owned(),
            site: self.inner.work.site(),
            top,
        };
        let fds = [list.file().as_fd(), bytes.file().as_fd()];
        self.inner.work.run(&job, &fds, cancel).map(drop)
    }
}
