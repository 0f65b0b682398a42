//! Which entries of a layout's index are one image: several names of one, or several platforms.

use std::collections::BTreeSet;

use rbuild_oci::{Descriptor, Reference};

use super::layout::{is_image, name_of};
use crate::layout::REF_NAME;

/// Entries that are one image, perhaps of several platforms.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its names, as they are listed.
    pub(super) names: Vec<Reference>,
    /// Its entries, each digest once; not empty.
    pub(super) entries: Vec<Descriptor>,
}

impl Group {
    /// Puts entries together; the same digest may be listed under several names.
    pub(super) fn of(entries: Vec<Descriptor>) -> Self {
        let mut group = Self {
            names: Vec::new(),
            entries: Vec::new(),
        };
        for entry in entries {
            group.add(entry);
        }
        group
    }

    fn add(&mut self, entry: Descriptor) {
        if let Some(name) = name_of(&entry)
            && !self.names.contains(&name)
        {
            self.names.push(name);
        }
        if !self.has(&entry) {
            self.entries.push(entry);
        }
    }

    fn has(&self, entry: &Descriptor) -> bool {
        self.entries.iter().any(|own| own.digest == entry.digest)
    }
}

/// Groups the entries of an index, in order: by digest, and those of one name by platform. Entries
/// without a name are one image if each of them states another platform.
pub(super) fn groups(entries: &[Descriptor]) -> Vec<Group> {
    let images: Vec<&Descriptor> = entries.iter().filter(|entry| is_image(entry)).collect();
    let unnamed: Vec<&&Descriptor> = images.iter().filter(|e| key(e).is_none()).collect();
    let platforms: BTreeSet<_> = unnamed.iter().filter_map(|e| e.platform.clone()).collect();
    let as_one = unnamed.len() > 1 && platforms.len() == unnamed.len();
    let mut groups: Vec<(Option<String>, Group)> = Vec::new();
    for entry in images {
        let key = key(entry);
        let same = |(other, group): &&mut (Option<String>, Group)| match &key {
            Some(_) => *other == key || group.has(entry),
            None => (as_one && other.is_none()) || group.has(entry),
        };
        match groups.iter_mut().find(same) {
            Some((_, group)) => group.add(entry.clone()),
            None => groups.push((key, Group::of(vec![entry.clone()]))),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// What entries of one name have in common.
fn key(entry: &Descriptor) -> Option<String> {
    let name = name_of(entry).map(|name| name.to_string());
    name.or_else(|| entry.annotations.get(REF_NAME).cloned())
}

#[cfg(test)]
mod tests {
    use rbuild_oci::{Platform, media_type};

    use super::*;

    /// An entry of this content, name and platform.
    fn entry(content: &str, name: &str, platform: &str) -> Descriptor {
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, content.as_bytes());
        if !name.is_empty() {
            entry.annotations.insert(REF_NAME.into(), name.into());
        }
        entry.platform = Platform::parse(platform).ok();
        entry
    }

    fn check(entries: &[Descriptor], expected: &[(&str, usize)]) {
        let found: Vec<(String, usize)> = groups(entries)
            .iter()
            .map(|group| {
                let names: Vec<String> = group.names.iter().map(Reference::familiar).collect();
                (names.join(" "), group.entries.len())
            })
            .collect();
        let found: Vec<(&str, usize)> = found.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn names_of_one_digest_and_platforms_of_one_name_are_one_image() {
        check(
            &[
                entry("a", "x:1", ""),
                entry("b", "y:1", "linux/amd64"),
                entry("a", "x:2", ""),
                entry("c", "y:1", "linux/arm64"),
            ],
            &[("x:1 x:2", 1), ("y:1", 2)],
        );
        check(
            &[entry("a", "", "linux/amd64"), entry("b", "", "linux/arm64")],
            &[("", 2)],
        );
        check(
            &[entry("a", "", ""), entry("b", "", "")],
            &[("", 1), ("", 1)],
        );
        let mut attestation = entry("c", "", "unknown/unknown");
        attestation
            .annotations
            .insert("vnd.docker.reference.type".into(), "x".into());
        check(&[entry("a", "1.0", ""), attestation], &[("", 1)]);
    }
}
