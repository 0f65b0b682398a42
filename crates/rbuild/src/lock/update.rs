//! Which entries are made anew.

use rbuild_oci::Reference;

use super::LockUpdate;

impl LockUpdate {
    /// Whether the entry of a name is made anew.
    pub(super) fn hits(&self, name: &str) -> bool {
        let of_repository = |given: &str| {
            let rest = name.strip_prefix(given);
            rest.is_some_and(|rest| rest.starts_with('#'))
        };
        match self {
            LockUpdate::Missing => false,
            LockUpdate::All => true,
            LockUpdate::These(names) => names.iter().any(|given| {
                let given = rbuild_source::file_name(given);
                given == name || of_repository(&given)
            }),
        }
    }

    /// The same of an image; a name without a tag means all tags.
    pub(super) fn hits_image(&self, reference: &Reference) -> bool {
        let means = |text: &String| {
            let Ok(given) = Reference::parse(text) else {
                return false;
            };
            let has_tag = given.tag() != Some("latest") || text.ends_with(":latest");
            match has_tag || given.digest().is_some() {
                true => given == *reference,
                false => given.name() == reference.name(),
            }
        };
        match self {
            LockUpdate::Missing => false,
            LockUpdate::All => true,
            LockUpdate::These(names) => names.iter().any(means),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_people_write() {
        let these = |name: &str| LockUpdate::These(vec![name.to_owned()]);
        let image = |name| Reference::parse(name).unwrap();
        for (given, name, is_meant) in [
            ("alpine", "alpine:3", true),
            ("alpine", "alpine", true),
            ("docker.io/library/alpine:3", "alpine:3", true),
            ("alpine:latest", "alpine:3", false),
            ("alpine:2", "alpine:3", false),
            ("localhost:5000/a", "localhost:5000/a:1", true),
            ("localhost:5000/a", "localhost:5000/b:1", false),
            ("https://h/x", "alpine:3", false),
        ] {
            assert_eq!(
                these(given).hits_image(&image(name)),
                is_meant,
                "{given} {name}"
            );
        }
        for (given, name, is_meant) in [
            ("https://u:p@h/x", "https://h/x", true),
            ("https://h/r.git", "https://h/r.git#v1", true),
            ("https://h/r.git#v1", "https://h/r.git#v1", true),
            ("https://h/r.git#v", "https://h/r.git#v1", false),
            ("https://h/r", "https://h/r.git#v1", false),
        ] {
            assert_eq!(these(given).hits(name), is_meant, "{given} {name}");
        }
    }
}
