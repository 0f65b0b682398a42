//! Pattern lists of `COPY --exclude` and `COPY --parents`.

use crate::Result;
use crate::rules::Rules;

/// A compiled list in the ignore language, read as "these are meant".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncludeSet {
    rules: Rules,
}

impl IncludeSet {
    /// Compiles a list. Errors: the first bad pattern, as [`crate::Error`].
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self> {
        Ok(Self {
            rules: Rules::from_list(patterns)?,
        })
    }

    /// Whether the path is meant: it or a directory above it matches, and no later exception does.
    pub fn matches(&self, path: &(impl AsRef<[u8]> + ?Sized)) -> bool {
        self.rules.deciding(path.as_ref()).is_some()
    }

    /// Whether something below the directory could be meant; may err on the side of yes.
    pub fn could_match_below(&self, dir: &(impl AsRef<[u8]> + ?Sized)) -> bool {
        self.matches(dir) || self.rules.could_match_below(dir.as_ref())
    }

    /// Whether something below a directory that is meant could be excepted.
    ///
    /// For `--exclude`: an excluded directory has to be walked only if this says yes.
    pub fn could_except_below(&self, dir: &(impl AsRef<[u8]> + ?Sized)) -> bool {
        match self.rules.deciding(dir.as_ref()) {
            None => true,
            Some((index, _)) => self.rules.could_except_below(dir.as_ref(), index),
        }
    }

    /// Whether the list is empty: nothing is meant.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any pattern is an exception (`!`).
    pub fn has_exceptions(&self) -> bool {
        self.rules.has_exceptions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_items_are_patterns_whatever_they_begin_with() {
        let set = IncludeSet::new(["#a", "", " b/ ", "!b/keep", "**/*.md"]).unwrap();
        for path in ["#a", "b", "b/x", "x/y/z.md"] {
            assert!(set.matches(path), "{path}");
        }
        for path in ["a", "b/keep", "b/keep/x", "c"] {
            assert!(!set.matches(path), "{path}");
        }
        assert!(IncludeSet::new(["["]).unwrap_err().line().is_none());
    }

    #[test]
    fn pruning_looks_at_what_is_left_of_the_patterns() {
        let set = IncludeSet::new(["a/b/*.txt", "c"]).unwrap();
        assert!(set.could_match_below(""));
        assert!(set.could_match_below("a"));
        assert!(set.could_match_below("a/b"));
        assert!(!set.could_match_below("a/x"));
        assert!(!set.could_match_below("b"));
        assert!(set.could_match_below("c/deep"));
        assert!(IncludeSet::default().is_empty() && !IncludeSet::default().could_match_below(""));
    }

    #[test]
    fn excluded_directories_are_walked_only_for_exceptions() {
        let set = IncludeSet::new(["d", "!d/e/*.c"]).unwrap();
        assert!(set.could_except_below("d"));
        assert!(set.could_except_below("d/e"));
        assert!(!set.could_except_below("d/f"));
    }
}
