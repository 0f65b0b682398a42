//! The line of a Dockerfile that the error of a failing build case points at.
//!
//! The recorded builds have the errors without their places. Where the recorded checks of the same file have the
//! same error, they have its line; where a step failed, the error names what only one instruction can be about.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// What the recorded checks say of the build cases' Dockerfiles, by case.
pub struct Checks {
    by_case: BTreeMap<String, Value>,
}

impl Checks {
    /// Reads those of `corpus`.
    pub fn read(corpus: &Path) -> Result<Self> {
        let path = corpus.join("oracle/build.jsonl");
        let mut by_case = BTreeMap::new();
        for line in shell::read(&path)?.lines() {
            let value: Value =
                serde_json::from_str(line).with_context(|| format!("read {}", path.display()))?;
            let case = value["file"]
                .as_str()
                .and_then(|file| file.split('/').nth(1));
            if let Some(case) = case.map(str::to_owned) {
                by_case.insert(case, value);
            }
        }
        Ok(Self { by_case })
    }

    /// Returns the first line of the instruction that `error` of `case` is about, where that is certain.
    pub fn line(&self, case: &str, error: &str) -> Option<u64> {
        let check = self.by_case.get(case)?;
        line(check, error)
    }
}

fn line(check: &Value, error: &str) -> Option<u64> {
    let found = &check["build_error"];
    if found["message"] == error {
        return found["line"].as_u64().filter(|line| *line > 0);
    }
    let stages = check["stages"].as_array().into_iter().flatten();
    let commands = stages.flat_map(|stage| stage["commands"].as_array().into_iter().flatten());
    let mut lines: Vec<u64> = commands
        .filter(|command| is_about(error, command))
        .filter_map(|command| command["line"].as_u64())
        .collect();
    lines.dedup();
    match lines[..] {
        [line] => Some(line),
        _ => None,
    }
}

/// Whether a step of `command` could have failed with `error`.
fn is_about(error: &str, command: &Value) -> bool {
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    if let Some(process) = between(error, "process \"", "\" did not complete") {
        let run = texts(&command["cmdline"]).join(" ");
        let process = process.replace("\\\"", "\"").replace("\\\\", "\\");
        return command["name"] == "run" && process.strip_prefix("/bin/sh -c ") == Some(&run);
    }
    if let Some(missing) = between(error, "ref REF: \"/", "\": not found") {
        let plain = |source: &String| source.trim_start_matches("./").trim_matches('/') == missing;
        return texts(&command["sources"]).iter().any(plain);
    }
    if let Some(secret) = between(error, "secret ", ": not found") {
        let mounts = command["mounts"].as_array().into_iter().flatten();
        return mounts.into_iter().any(|mount| mount["id"] == secret);
    }
    false
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_are_led_back_to_the_one_instruction_they_name() {
        let check = json!({
            "build_error": { "message": "m", "line": 7 },
            "stages": [{ "commands": [
                { "name": "copy", "line": 2, "sources": ["./a/b", "c"] },
                { "name": "run", "line": 3, "cmdline": ["echo \"x\" \\y"] },
                { "name": "run", "line": 4, "cmdline": ["twice"] },
                { "name": "run", "line": 5, "cmdline": ["twice"] },
                { "name": "run", "line": 6, "mounts": [{ "id": "s" }] },
            ]}],
        });
        let cases = [
            ("m", Some(7)),
            ("ref REF: \"/a/b\": not found", Some(2)),
            ("ref REF: \"/d\": not found", None),
            (
                r#"process "/bin/sh -c echo \"x\" \\y" did not complete successfully: exit code: 1"#,
                Some(3),
            ),
            ("process \"/bin/sh -c twice\" did not complete", None),
            ("secret s: not found", Some(6)),
            ("something else", None),
        ];
        for (error, wanted) in cases {
            assert_eq!(line(&check, error), wanted, "{error}");
        }
        let unknown = json!({ "build_error": { "message": "m", "line": 0 } });
        assert_eq!(line(&unknown, "m"), None);
    }
}
