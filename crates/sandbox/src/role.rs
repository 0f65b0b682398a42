//! As what this binary was started, told by its command line.

use std::ffi::OsString;
use std::process;

use crate::NurseryMode;

/// Changes when the two sides of the socket no longer understand each other.
const PROTOCOL: &str = "1";

/// Which rights a nursery has; the ranges of ids do not matter to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    /// Root in the first user namespace.
    Root,
    /// Many ids in a user namespace.
    Subordinate,
    /// One id in a user namespace.
    SingleId,
}

impl Rung {
    /// Its word on the command line.
    fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Subordinate => "subordinate",
            Self::SingleId => "single-id",
        }
    }

    /// Reads its word.
    fn from_word(word: &str) -> Option<Self> {
        [Self::Root, Self::Subordinate, Self::SingleId]
            .into_iter()
            .find(|rung| rung.word() == word)
    }

    /// Tells whether there is a user namespace of our own.
    pub(crate) fn is_rootless(self) -> bool {
        self != Self::Root
    }
}

impl From<&NurseryMode> for Rung {
    fn from(mode: &NurseryMode) -> Self {
        match mode {
            NurseryMode::Root => Self::Root,
            NurseryMode::Nested { .. } | NurseryMode::Subordinate { .. } => Self::Subordinate,
            NurseryMode::SingleId => Self::SingleId,
        }
    }
}

/// As what this binary was started.
pub(crate) enum Role {
    /// By an engine with this process id.
    Stem { rung: Rung, engine: i32 },
    /// By a stem.
    Nursery { rung: Rung },
}

impl Role {
    /// Argument 0 of both.
    pub(crate) const NAME: &str = "rbuild-nursery";

    /// Recognises the command lines made by [`stem_arguments`] and [`nursery_arguments`]; no other.
    pub(crate) fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut next = || arguments.next()?.into_string().ok();
        if next()? != Self::NAME {
            return None;
        }
        let role = next()?;
        if next()? != PROTOCOL {
            return None;
        }
        let rung = Rung::from_word(&next()?)?;
        match role.as_str() {
            "stem" => Some(Self::Stem {
                rung,
                engine: next()?.parse().ok()?,
            }),
            "nursery" => Some(Self::Nursery { rung }),
            _ => None,
        }
    }
}

/// Returns the arguments, after the name, that an engine gives to its stem.
pub(crate) fn stem_arguments(mode: &NurseryMode) -> [String; 4] {
    let engine = process::id().to_string();
    ["stem", PROTOCOL, Rung::from(mode).word(), &engine].map(str::to_owned)
}

/// Returns all arguments that a stem gives to its nursery.
pub(crate) fn nursery_arguments(rung: Rung) -> [&'static str; 4] {
    [Role::NAME, "nursery", PROTOCOL, rung.word()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(words: &[&str]) -> Option<Role> {
        Role::from_arguments(words.iter().map(OsString::from))
    }

    #[test]
    fn only_our_own_command_lines_make_a_nursery() {
        let stem = stem_arguments(&NurseryMode::SingleId);
        let mut words = vec![Role::NAME];
        words.extend(stem.iter().map(String::as_str));
        assert!(
            matches!(role(&words), Some(Role::Stem { rung: Rung::SingleId, engine }) if engine > 0)
        );
        assert!(matches!(
            role(&nursery_arguments(Rung::Root)),
            Some(Role::Nursery { rung: Rung::Root })
        ));
        assert!(role(&["rbuild", "stem", PROTOCOL, "root", "1"]).is_none());
        assert!(role(&[Role::NAME]).is_none());
        assert!(role(&[Role::NAME, "nursery", "0", "root"]).is_none());
        assert!(role(&[Role::NAME, "nursery", PROTOCOL, "king"]).is_none());
    }
}
