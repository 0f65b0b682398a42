//! Lists of files on their way to a place: another machine says with them which files differ.

use rbuild_oci::Descriptor;
use rbuild_progress::CancelToken;
use rbuild_solver::KeyInputs;
use rbuild_store::Table;

use super::Shared;
use super::target::Target;
use crate::Result;
use crate::entry::{BlobRef, LIST_TYPE, MAX_LIST};

impl Shared {
    /// Sends the lists that the inputs of a copy name, and names them.
    ///
    /// Of no other steps: a list tells files apart by their digests, and who can read the cache learns no
    /// more of a copy than its layer shows.
    pub(super) fn lists(
        &self,
        target: &Target,
        inputs: &KeyInputs,
        cancel: &CancelToken,
    ) -> Result<Vec<BlobRef>> {
        let mut lists = Vec::new();
        if !inputs.is_copy() {
            return Ok(lists);
        }
        let store = self.layers.store();
        for name in inputs
            .inputs
            .iter()
            .filter_map(|input| input.files.as_ref())
        {
            let Some(bytes) = store.get(Table::Listings, name.as_str())? else {
                continue;
            };
            if bytes.len() as u64 > MAX_LIST {
                continue;
            }
            let digest = store.put_blob(&bytes)?;
            let blob = Descriptor::new(LIST_TYPE, digest, bytes.len() as u64);
            target.send(&blob, store, cancel)?;
            lists.push(BlobRef::from(&blob));
        }
        Ok(lists)
    }
}
