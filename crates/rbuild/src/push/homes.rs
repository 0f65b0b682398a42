//! Which repositories of a registry have a blob: what pulls and pushes have told us.

use rbuild_layer::LayerInfo;
use rbuild_oci::{Digest, Reference};
use rbuild_store::{Store, Table};

use crate::{BuildError, Result};

/// Repositories remembered for one blob.
const REMEMBERED: usize = 4;

/// Repositories of the registry of `target` that may have the blob, the likeliest first.
pub(crate) fn homes(
    store: &Store,
    target: &Reference,
    (digest, layer): (&Digest, Option<&LayerInfo>),
) -> Result<Vec<String>> {
    let origin = layer.and_then(|layer| layer.original.as_ref());
    let origin = origin.filter(|origin| &origin.descriptor.digest == digest);
    let origin = origin.and_then(|origin| Reference::parse(&origin.origin).ok());
    let origin = origin.filter(|origin| origin.domain() == target.domain());
    let mut homes = remembered(store, target, digest)?;
    homes.extend(origin.map(|origin| origin.path().to_owned()));
    let mut seen = std::collections::BTreeSet::from([target.path().to_owned()]);
    homes.retain(|home| seen.insert(home.clone()));
    Ok(homes)
}

/// Notes that the repository of `target` has these blobs.
pub(crate) fn note<'a>(
    store: &Store,
    target: &Reference,
    digests: impl Iterator<Item = &'a Digest>,
) -> Result<()> {
    let mut rows = Vec::new();
    for digest in digests {
        let mut homes = remembered(store, target, digest)?;
        if homes.first().is_some_and(|home| home == target.path()) {
            continue;
        }
        homes.retain(|home| home != target.path());
        homes.insert(0, target.path().to_owned());
        homes.truncate(REMEMBERED);
        let value = serde_json::to_vec(&homes).map_err(BuildError::encode)?;
        rows.push((key(target, digest), value));
    }
    let rows: Vec<_> = rows
        .iter()
        .map(|(key, value)| (Table::Remotes, key.as_str(), value.as_slice()))
        .collect();
    Ok(store.put_many(&rows)?)
}

fn remembered(store: &Store, target: &Reference, digest: &Digest) -> Result<Vec<String>> {
    let row = store.get(Table::Remotes, &key(target, digest))?;
    // What cannot be read is as good as forgotten.
    Ok(row
        .and_then(|row| serde_json::from_slice(&row).ok())
        .unwrap_or_default())
}

fn key(target: &Reference, digest: &Digest) -> String {
    format!("blob {} {digest}", target.domain())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_home_comes_first_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = Digest::sha256_of(b"x");
        let name = |text: &str| Reference::parse(text).unwrap();
        for path in ["a", "b", "c", "d", "e", "a"] {
            note(
                &store,
                &name(&format!("h.io/{path}")),
                [&digest].into_iter(),
            )
            .unwrap();
        }
        let found = |target: &str| homes(&store, &name(target), (&digest, None)).unwrap();
        assert_eq!(found("h.io/z:1"), ["a", "e", "d", "c"]);
        assert_eq!(found("h.io/e"), ["a", "d", "c"]);
        assert!(found("other.io/z").is_empty());
    }
}
