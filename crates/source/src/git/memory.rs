//! What references stood for when they were last asked for: the answer where nothing may be asked.

use rbuild_graph::GitOp;
use rbuild_oci::Digest;
use rbuild_store::{Store, Table};
use serde::{Deserialize, Serialize};

use super::refs::Resolved;
use crate::Result;

/// A [`Resolved`] as the store keeps it.
#[derive(Serialize, Deserialize)]
struct Memo {
    commit: String,
    tag: Option<String>,
    full_ref: Option<String>,
}

/// The name of the record. The address is hashed: it may hold a password.
pub(super) fn name(op: &GitOp) -> String {
    let text = format!("{:?} {:?}", op.remote, op.reference);
    format!("git-ref-{}", Digest::sha256_of(text.as_bytes()).hex())
}

pub(super) fn keep(store: &Store, name: &str, resolved: &Resolved) -> Result<()> {
    let memo = Memo {
        commit: resolved.commit.clone(),
        tag: resolved.tag.clone(),
        full_ref: resolved.full_ref.clone(),
    };
    if let Ok(bytes) = serde_json::to_vec(&memo) {
        store.put(Table::Remotes, name, &bytes)?;
    }
    Ok(())
}

pub(super) fn recall(store: &Store, name: &str) -> Result<Option<Resolved>> {
    let row = store.get(Table::Remotes, name)?;
    let memo = row.and_then(|bytes| serde_json::from_slice::<Memo>(&bytes).ok());
    Ok(memo.map(|memo| Resolved {
        commit: memo.commit,
        tag: memo.tag,
        full_ref: memo.full_ref,
        is_old: true,
    }))
}
