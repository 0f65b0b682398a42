//! What our crates answer to the same questions.

use rbuild_dockerfile::expand::{ExpandMode, expand};
use rbuild_dockerfile::json::oracle_json;
use rbuild_pattern::{Glob, IgnoreSet};
use serde_json::{Value, json};

use super::Subject;

/// Answers in the oracle's form.
pub fn answer(subject: Subject, question: &Value) -> Value {
    match subject {
        Subject::Parse => {
            let mut answer = oracle_json("", text(question, "dockerfile").as_bytes());
            if let Value::Object(answer) = &mut answer {
                answer.remove("file");
            }
            answer
        }
        Subject::Word => word(question),
        Subject::Ignore => ignore(question),
        Subject::Glob => glob(question),
    }
}

fn text<'a>(question: &'a Value, key: &str) -> &'a str {
    question[key].as_str().unwrap_or_default()
}

fn paths(question: &Value) -> impl Iterator<Item = &str> {
    let paths = question["paths"].as_array().into_iter().flatten();
    paths.filter_map(Value::as_str)
}

fn word(question: &Value) -> Value {
    let flag = |key: &str| question[key] == true;
    let mode = ExpandMode {
        raw_quotes: flag("raw_quotes"),
        raw_escapes: flag("raw_escapes"),
        ignore_quotes: flag("ignore_quotes"),
        skip_unset: flag("skip_unset"),
    };
    let env = |name: &str| question["env"].get(name)?.as_str().map(str::to_owned);
    let escape = text(question, "escape").chars().next().unwrap_or('\\');
    match expand(text(question, "word"), escape, &env, mode) {
        Ok(done) => json!({ "result": done.text }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn ignore(question: &Value) -> Value {
    match IgnoreSet::parse(text(question, "ignore")) {
        Err(error) => json!({ "error": error.to_string() }),
        Ok(set) => {
            let hidden = paths(question).map(|path| set.verdict(path).is_excluded());
            json!({ "hidden": hidden.collect::<Vec<_>>() })
        }
    }
}

fn glob(question: &Value) -> Value {
    match Glob::new(text(question, "glob")) {
        Err(error) => json!({ "error": error.to_string() }),
        Ok(glob) => {
            let matches = paths(question).map(|path| glob.matches(path));
            json!({ "matches": matches.collect::<Vec<_>>() })
        }
    }
}
