//! "Did you mean": the nearest of a list of names, as BuildKit picks it.

use rbuild_dockerfile::suggest;

/// Appends ` (did you mean X?)` when one of `names` is near `word`.
pub(crate) fn with_suggestion<'a>(
    message: String,
    word: &str,
    names: impl Iterator<Item = &'a str>,
) -> String {
    suggest::with_suggestion(message, nearest(word, names))
}

/// The first of the nearest names, when it is near and not `word` itself.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    suggest::nearest(word, &names.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let names = || ["build", "final"].into_iter();
        assert_eq!(nearest("bulid", names()), Some("build"));
        assert_eq!(nearest("build", names()), None);
        assert_eq!(nearest("other", names()), None);
    }
}
