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

    pub(super) fn hits_image(&self, reference: &Reference) -> bool {
        match self {
            LockUpdate::These(names) => names
                .iter()
                .any(|given| Reference::parse(given).is_ok_and(|given| given == *reference)),
            LockUpdate::Missing | LockUpdate::All => self.hits(""),
        }
    }
}
