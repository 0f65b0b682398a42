//! Keeping lists of the files that steps read, for explaining later misses.

use rbuild_graph::{FileAction, Op, Vertex};
use rbuild_oci::Digest;
use rbuild_solver::OpContext;
use rbuild_source::{Listing, select_path};
use rbuild_store::Table;

use crate::worker::{LocalWorker, Source, mounted};
use crate::{Error, Output, Result};

impl LocalWorker<'_> {
    /// Lists the files that an input contributes to a vertex, and puts the list into the store under its
    /// digest.
    pub(crate) fn keep_listing(
        &self,
        (vertex, input): (&Vertex, usize),
        from: &Output,
        cx: &OpContext<'_>,
    ) -> Result<Digest> {
        let view = self.view_of(from, cx)?;
        let mut listing = Listing::default();
        match &vertex.op {
            Op::File(op) => {
                for (at, action) in op.actions.iter().enumerate() {
                    let FileAction::Copy(action) = action else {
                        continue;
                    };
                    if action.input != input {
                        continue;
                    }
                    let source = Source {
                        vertex,
                        at,
                        action,
                        input: from,
                    };
                    let selection = self.selection(&source, cx)?;
                    listing.add(view.as_ref(), &selection, cx.cancel)?;
                }
            }
            Op::Exec(op) => {
                for source in mounted(op, input) {
                    let selection = select_path(view.as_ref(), source, cx.cancel)?;
                    listing.add(view.as_ref(), &selection, cx.cancel)?;
                }
            }
            _ => return Err(Error::Input),
        }
        let bytes = listing.encode()?;
        let name = Digest::sha256_of(&bytes);
        self.store.put(Table::Listings, name.as_str(), &bytes)?;
        Ok(name)
    }
}
