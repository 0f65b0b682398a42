//! Which repositories of a registry have a blob: what pulls and pushes have told us.

use rbuild_oci::{Digest, Reference};
use rbuild_store::{Store, Table};

/// Repositories remembered for one blob.
const REMEMBERED: usize = 4;

/// Repositories of the registry of `target` that had the blob, the last one first; paths, as in
/// [`Reference::path`]. Errors: those of the store.
pub fn blob_homes(
    store: &Store,
    target: &Reference,
    digest: &Digest,
) -> rbuild_store::Result<Vec<String>> {
    let row = store.get(Table::Remotes, &key(target, digest))?;
    // What cannot be read is as good as forgotten.
    Ok(row
        .and_then(|row| serde_json::from_slice(&row).ok())
        .unwrap_or_default())
}

/// Notes that the repository of `target` has these blobs. Errors: those of the store.
pub fn note_blob_homes<'a>(
    store: &Store,
    target: &Reference,
    digests: impl Iterator<Item = &'a Digest>,
) -> rbuild_store::Result<()> {
    let mut rows = Vec::new();
    for digest in digests {
        let mut homes = blob_homes(store, target, digest)?;
        if homes.first().is_some_and(|home| home == target.path()) {
            continue;
        }
        homes.retain(|home| home != target.path());
        homes.insert(0, target.path().to_owned());
        homes.truncate(REMEMBERED);
        // A list of texts always has an encoding.
        let value = serde_json::to_vec(&homes).unwrap_or_default();
        rows.push((key(target, digest), value));
    }
    let rows: Vec<_> = rows
        .iter()
        .map(|(key, value)| (Table::Remotes, key.as_str(), value.as_slice()))
        .collect();
    store.put_many(&rows)
}

fn key(target: &Reference, digest: &Digest) -> String {
    format!("blob {} {digest}", target.domain())
}
