//! Makes a question smaller while its answers still differ.

use serde_json::Value;

/// Cuts pieces out of the text under `key`, halves first and single characters last, as long as
/// `differs` says yes to what is left.
pub fn smaller(question: &Value, key: &str, differs: &mut dyn FnMut(&Value) -> bool) -> Value {
    let mut best = question.clone();
    let mut chars: Vec<char> = text(&best, key);
    let mut size = chars.len().div_ceil(2);
    while size > 0 && !chars.is_empty() {
        let mut at = 0;
        let mut cut = false;
        while at < chars.len() {
            let end = (at + size).min(chars.len());
            let left: String = chars[..at].iter().chain(&chars[end..]).collect();
            let mut candidate = best.clone();
            candidate[key] = Value::from(left);
            if differs(&candidate) {
                chars = text(&candidate, key);
                best = candidate;
                cut = true;
            } else {
                at = end;
            }
        }
        if !cut {
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }
    best
}

/// Leaves one of the paths, if with one alone the answers still differ.
pub fn one_path(question: &Value, differs: &mut dyn FnMut(&Value) -> bool) -> Value {
    let paths = question["paths"].as_array().into_iter().flatten();
    let mut candidates = paths.map(|path| {
        let mut candidate = question.clone();
        candidate["paths"] = Value::from(vec![path.clone()]);
        candidate
    });
    let found = candidates.find(|candidate| differs(candidate));
    found.unwrap_or_else(|| question.clone())
}

fn text(question: &Value, key: &str) -> Vec<char> {
    question[key].as_str().unwrap_or_default().chars().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_matters_is_left() {
        let question = json!({ "word": "some xx text with y in it" });
        let found = smaller(&question, "word", &mut |candidate| {
            let text = candidate["word"].as_str().unwrap();
            text.contains('x') && text.contains('y')
        });
        assert_eq!(found, json!({ "word": "xy" }));
    }
}
