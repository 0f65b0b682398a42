//! The smaller functions against the recorded results of BuildKit's, where that corpus is at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild_dockerfile::expand::{ExpandMode, expand};
use rbuild_dockerfile::heredoc::marks;
use rbuild_dockerfile::json::oracle_json;
use rbuild_dockerfile::json_array::{JsonArray, json_array};
use rbuild_dockerfile::port::parse_port;
use serde_json::{Value, json};

fn vectors(name: &str) -> Option<String> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/conformance/parser/vectors")
        .join(name);
    let text = std::fs::read_to_string(path).ok();
    if text.is_none() {
        println!("skipped: no conformance corpus beside the repository");
    }
    text
}

/// Runs `found` on every line and compares the keys it returns.
fn check(name: &str, found: impl Fn(&Value) -> Value) {
    let Some(text) = vectors(name) else { return };
    let mut wrong = Vec::new();
    for line in text.lines() {
        let expected: Value = serde_json::from_str(line).expect("JSON");
        let found = found(&expected);
        for (key, value) in found.as_object().expect("object") {
            let same = match (expected.get(key), value) {
                // Go's empty list may be null.
                (Some(Value::Null), Value::Array(list)) => list.is_empty(),
                (wanted, found) => wanted == Some(found),
            };
            if !same {
                wrong.push(format!("{line}\n  found {key} {value}"));
            }
        }
    }
    println!("{name}: {} cases", text.lines().count());
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().expect("text")
}

#[test]
fn shell_words() {
    check("shell-words.jsonl", |case| {
        let flag = |key: &str| case[key].as_bool().expect("flag");
        let mode = ExpandMode {
            raw_quotes: flag("raw_quotes"),
            raw_escapes: flag("raw_escapes"),
            ignore_quotes: flag("skip_process_quotes"),
            skip_unset: flag("skip_unset_env"),
        };
        let env = |name: &str| case["env"].get(name)?.as_str().map(str::to_owned);
        let escape = text(case, "escape").chars().next().expect("escape");
        match expand(text(case, "word"), escape, &env, mode) {
            Ok(done) => {
                let mut found = json!({ "error": null, "result": done.text });
                // BuildKit forgets the words before `${...}` with an operator: its reader uses one
                // buffer for the word and for the operand. Nothing useful rests on that.
                if !text(case, "word").contains("${") {
                    found["words"] = json!(done.words);
                }
                // Of some calls no names were recorded.
                let recorded =
                    |key: &str| case[key].as_array().is_some_and(|list| !list.is_empty());
                if recorded("matched") || recorded("unmatched") {
                    found["matched"] = json!(done.matched);
                    found["unmatched"] = json!(done.unmatched);
                }
                found
            }
            Err(error) => json!({ "error": error.to_string() }),
        }
    });
}

#[test]
fn json_arrays() {
    check("json-arrays.jsonl", |case| {
        match json_array(text(case, "input")) {
            JsonArray::Strings(found) => {
                let values: Vec<String> = found.into_iter().map(|(text, _)| text).collect();
                json!({ "json": true, "values": values, "error": null })
            }
            JsonArray::NotStrings => json!({
                "json": false,
                "error": "when using JSON array syntax, arrays must be comprised of strings only",
            }),
            JsonArray::NotJson => json!({ "json": false, "values": [] }),
        }
    });
}

#[test]
fn heredoc_lines() {
    check("heredoc-lines.jsonl", |case| {
        let found = marks(text(case, "line")).expect("no errors here");
        let list = found.into_iter().map(|mark| {
            json!({
                "chomp": mark.chomp,
                "expand": mark.expand,
                "fd": mark.descriptor,
                "name": mark.name,
            })
        });
        json!({ "error": null, "heredocs": list.collect::<Vec<_>>() })
    });
}

#[test]
fn expose_ports() {
    check("expose-ports.jsonl", |case| {
        let ports = case["ports"].as_array().expect("list");
        let found: Result<Vec<Vec<String>>, _> = ports
            .iter()
            .map(|port| parse_port(port.as_str().expect("text")))
            .collect();
        match found {
            Ok(found) => json!({ "error": null, "result": found.concat() }),
            Err(error) => json!({ "error": error.to_string(), "result": null }),
        }
    });
}

#[test]
fn name_values() {
    check("name-values.jsonl", |case| {
        // The escape character NUL of two cases stands for none; no input there has one.
        let line = format!("{} {}\n", text(case, "instruction"), text(case, "input"));
        let found = oracle_json("", line.as_bytes());
        match found["parse_error"].get("message") {
            Some(message) => json!({ "error": message, "values": [] }),
            None => {
                json!({ "error": null, "values": found["nodes"][0].get("args").cloned().unwrap_or(json!([])) })
            }
        }
    });
}

#[test]
fn directives() {
    check("directives.jsonl", |case| {
        let directives = rbuild_dockerfile::parse(text(case, "text"))
            .dockerfile
            .directives;
        let (whole, first) = match text(case, "key") {
            "check" => (directives.check.as_ref(), directives.check_options()),
            "syntax" => (directives.syntax.as_ref(), directives.syntax_reference()),
            other => panic!("no directive {other}"),
        };
        json!({
            "found": whole.is_some(),
            "cmdline": whole.map_or("", |found| &found.value),
            "value": first.unwrap_or_default(),
        })
    });
}

/// Reads the tables that BuildKit's shell tests read: platform, word, result.
#[test]
fn environment_table() {
    let Some(table) = vectors("envVarTest.txt") else {
        return;
    };
    let env = |name: &str| {
        let value = match name {
            "PWD" => "/home",
            "SHELL" => "bash",
            "KOREAN" => "한국어",
            "NULL" => "",
            _ => return None,
        };
        Some(value.to_owned())
    };
    for line in table.lines() {
        let line = line.split('#').next().expect("first").trim_end();
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [platform, word, expected] = fields[..] else {
            continue;
        };
        if platform == "W" {
            continue;
        }
        let found = expand(word, '\\', &env, ExpandMode::default());
        let found = found.map_or("error".to_owned(), |done| done.text);
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn words_table() {
    let Some(table) = vectors("wordsTest.txt") else {
        return;
    };
    let mut env = BTreeMap::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line
            .strip_prefix("ENV ")
            .and_then(|set| set.split_once('='))
        {
            env.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let Some((word, expected)) = line.split_once('|') else {
            continue;
        };
        let found = expand(
            word.trim(),
            '\\',
            &|name| env.get(name).cloned(),
            ExpandMode::default(),
        );
        let found = found.map_or("error".to_owned(), |done| done.words.join(","));
        assert_eq!(found, expected.trim_start(), "{line}");
    }
}
