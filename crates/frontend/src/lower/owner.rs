//! Owners as `--chown` and USER write them.

use rbuild_graph::{Owner, OwnerId};

/// Reads `user`, `user:group` or `:group`, each a name or a number; nothing is no owner.
///
/// A group without a user is root's.
pub(super) fn parse_owner(text: &str) -> Option<Owner> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let user = match (user, group) {
        ("", None) => return None,
        ("", Some(_)) => OwnerId::Id(0),
        (user, _) => parse_id(user),
    };
    Some(Owner {
        user,
        group: group.map(parse_id),
    })
}

fn parse_id(text: &str) -> OwnerId {
    match text.parse() {
        Ok(id) => OwnerId::Id(id),
        Err(_) => OwnerId::Name(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mix() {
        let id = OwnerId::Id;
        let name = |name: &str| OwnerId::Name(name.to_owned());
        let check = |text, user, group| {
            assert_eq!(parse_owner(text), Some(Owner { user, group }), "{text}");
        };
        check("5", id(5), None);
        check("5:6", id(5), Some(id(6)));
        check("web:6", name("web"), Some(id(6)));
        check("web:", name("web"), None);
        check(":6", id(0), Some(id(6)));
        assert_eq!(parse_owner(""), None);
        assert_eq!(parse_owner(":"), None);
    }
}
