//! "Did you mean": the nearest of a list of names.

/// Names at this distance or further are not suggested.
const LIMIT: usize = 3;
/// Longer inputs are not compared: nothing that long is near a keyword or a flag.
const LONGEST: usize = 64;

/// Returns the candidate nearest to `word`, when it is near and not `word` itself.
///
/// The first of several equally near ones wins.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if word.len() > LONGEST || candidates.contains(&word) {
        return None;
    }
    candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, _)| *distance < LIMIT)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// As [`nearest`], without regard to case; the answer follows the case of `word` when that is all
/// lower or all upper, and is lower case otherwise.
pub fn nearest_any_case(word: &str, candidates: &[&str]) -> Option<String> {
    let lower = word.to_lowercase();
    let lowered: Vec<String> = candidates.iter().map(|name| name.to_lowercase()).collect();
    let names: Vec<&str> = lowered.iter().map(String::as_str).collect();
    let found = nearest(&lower, &names)?;
    if word != lower && word == word.to_uppercase() {
        Some(found.to_uppercase())
    } else {
        Some(found.to_owned())
    }
}

/// Appends the suggestion to a message, as BuildKit does.
pub fn with_suggestion(message: String, suggestion: Option<&str>) -> String {
    match suggestion {
        Some(name) => format!("{message} (did you mean {name}?)"),
        None => message,
    }
}

/// Counts the insertions, deletions and substitutions that turn `a` into `b`.
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
    fn suggestions_follow_the_case_of_the_input() {
        let names = ["RUN", "FROM"];
        assert_eq!(nearest_any_case("RUNN", &names).as_deref(), Some("RUN"));
        assert_eq!(nearest_any_case("fom", &names).as_deref(), Some("from"));
        assert_eq!(nearest_any_case("Fom", &names).as_deref(), Some("from"));
        assert_eq!(nearest_any_case("whatever", &names), None);
    }

    #[test]
    fn an_exact_name_is_no_suggestion() {
        assert_eq!(nearest("from", &["from", "form"]), None);
    }
}
