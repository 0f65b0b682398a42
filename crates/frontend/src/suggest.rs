//! "Did you mean": the nearest of a list of names, as BuildKit picks it.

/// Names at this distance or further are not suggested.
const LIMIT: usize = 3;
/// Longer inputs are not compared: nothing that long is near a name.
const LONGEST: usize = 64;

/// Appends ` (did you mean X?)` when one of `names` is near `word`.
pub(crate) fn with_suggestion<'a>(
    message: String,
    word: &str,
    names: impl Iterator<Item = &'a str>,
) -> String {
    match nearest(word, names) {
        Some(name) => format!("{message} (did you mean {name}?)"),
        None => message,
    }
}

/// The first of the nearest names, when it is near and not `word` itself.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let (found, name) = names
        .map(|name| (distance(word, name), name))
        .min_by_key(|(distance, _)| *distance)?;
    (0 < found && found < LIMIT).then_some(name)
}

/// Insertions, deletions and substitutions that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
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
