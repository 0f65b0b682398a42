//! What a walker does with an entry: a pure decision, the walk itself is elsewhere.

use crate::{IgnoreSet, Verdict};

/// What kind of entry is decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory, which may hold entries with other verdicts.
    Directory,
    /// Anything else.
    Other,
}

/// What a walker does with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take it; for a directory, go on below it.
    Take,
    /// Go on below it, and take it only if something below it is taken.
    Probe,
    /// Leave it, with all below it.
    Skip,
}

impl IgnoreSet {
    /// Decides what a walker does with an entry.
    pub fn step(&self, path: &(impl AsRef<[u8]> + ?Sized), kind: EntryKind) -> Step {
        match (self.verdict(path), kind) {
            (Verdict::Included, _) => Step::Take,
            (_, EntryKind::Other) => Step::Skip,
            (_, EntryKind::Directory) if self.could_include_below(path) => Step::Probe,
            (_, EntryKind::Directory) => Step::Skip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_directories_are_probed_only_where_an_exception_can_reach() {
        let set = IgnoreSet::parse("d\n!d/e/y.txt\n").unwrap();
        let step = |path: &str, kind| set.step(path, kind);
        assert_eq!(step("c", EntryKind::Directory), Step::Take);
        assert_eq!(step("d", EntryKind::Directory), Step::Probe);
        assert_eq!(step("d/e", EntryKind::Directory), Step::Probe);
        assert_eq!(step("d/f", EntryKind::Directory), Step::Skip);
        assert_eq!(step("d/e/x.txt", EntryKind::Other), Step::Skip);
        assert_eq!(step("d/e/y.txt", EntryKind::Other), Step::Take);
    }

    #[test]
    fn exceptions_before_the_deciding_rule_do_not_count() {
        let set = IgnoreSet::parse("!d/keep\nd\n").unwrap();
        assert_eq!(set.step("d", EntryKind::Directory), Step::Skip);
    }

    #[test]
    fn wildcard_exceptions_reach_everywhere() {
        let set = IgnoreSet::parse("**\n!**/*.txt\n").unwrap();
        assert_eq!(set.step("a/b", EntryKind::Directory), Step::Probe);
        let rooted = IgnoreSet::parse("*\n!src/*.c\n").unwrap();
        assert_eq!(rooted.step("src", EntryKind::Directory), Step::Probe);
        assert_eq!(rooted.step("src/deep", EntryKind::Directory), Step::Skip);
        assert_eq!(rooted.step("other", EntryKind::Directory), Step::Skip);
    }
}
