//! Which repositories of a registry have a blob: what pulls and pushes have told us.

use rbuild_cache::Place;
use rbuild_layer::LayerInfo;
use rbuild_oci::{Digest, Reference};
use rbuild_registry::blob_homes;
use rbuild_store::Store;

use crate::Result;

/// Repositories of the registry of `target` that may have the blob, the likeliest first.
pub(crate) fn homes(
    store: &Store,
    target: &Reference,
    (digest, layer): (&Digest, Option<&LayerInfo>),
) -> Result<Vec<String>> {
    let origin = layer.and_then(|layer| layer.original.as_ref());
    let origin = origin.filter(|origin| &origin.descriptor.digest == digest);
    let origin = origin.and_then(|origin| {
        let cache = Place::repository_of(&origin.origin);
        cache.or_else(|| Reference::parse(&origin.origin).ok())
    });
    let origin = origin.filter(|origin| origin.domain() == target.domain());
    let mut homes = blob_homes(store, target, digest)?;
    homes.extend(origin.map(|origin| origin.path().to_owned()));
    let mut seen = std::collections::BTreeSet::from([target.path().to_owned()]);
    homes.retain(|home| seen.insert(home.clone()));
    Ok(homes)
}

#[cfg(test)]
mod tests {
    use rbuild_registry::note_blob_homes;

    use super::*;

    #[test]
    fn the_last_home_comes_first_and_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = Digest::sha256_of(b"x");
        let name = |text: &str| Reference::parse(text).unwrap();
        for path in ["a", "b", "c", "d", "e", "a"] {
            note_blob_homes(
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
