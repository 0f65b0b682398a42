//! Lists of files on their way to a place: another machine says with them which files differ.

use rbuild_oci::{Descriptor, Digest};
use rbuild_progress::CancelToken;
use rbuild_solver::KeyInputs;
use rbuild_store::Table;

use super::Shared;
use super::target::Target;
use super::wanted::Wanted;
use crate::Result;
use crate::entry::{BlobRef, LIST_TYPE, MAX_LIST};

impl Shared {
    /// Sends the lists of files that a copy read. What its key was made of, naming them and no others, and where
    /// they are.
    ///
    /// Of copies that were made here only: a list tells files apart by their digests, a copy's layer holds them
    /// anyway, and what others say of a result could name a list of another step. One that cannot be sent is left
    /// out.
    pub(super) fn lists(
        &self,
        target: &Target,
        one: &Wanted,
        cancel: &CancelToken,
    ) -> Result<(KeyInputs, Vec<BlobRef>)> {
        let mut inputs = one.inputs.clone();
        let is_ours = inputs.is_copy() && self.layers.original(&one.layer)?.is_none();
        let mut lists = Vec::new();
        for input in &mut inputs.inputs {
            let name = input.files.take().filter(|_| is_ours);
            let sent = name.and_then(|name| match self.send_list(target, &name, cancel) {
                Ok(sent) => sent,
                Err(error) => {
                    tracing::debug!(%error, %name, "a list of files is not sent");
                    None
                }
            });
            input.files = sent.as_ref().map(|list| list.digest.clone());
            lists.extend(sent);
        }
        Ok((inputs, lists))
    }

    fn send_list(
        &self,
        target: &Target,
        name: &Digest,
        cancel: &CancelToken,
    ) -> Result<Option<BlobRef>> {
        let store = self.layers.store();
        let Some(bytes) = store.get(Table::Listings, name.as_str())? else {
            return Ok(None);
        };
        if bytes.len() as u64 > MAX_LIST {
            return Ok(None);
        }
        let digest = store.put_blob(&bytes)?;
        let blob = Descriptor::new(LIST_TYPE, digest, bytes.len() as u64);
        target.send(&blob, store, cancel)?;
        Ok(Some(BlobRef::from(&blob)))
    }
}
