//! What a check found, for code hosts: SARIF 2.1.0.
//!
//! Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".

use std::path::Path;

use rbuild::{CheckReport, Excerpt, Finding, LineRange, SourceFile, Span};
use serde_json::{Value, json};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
/// Rule of what stops a build.
const ERROR: &str = "build-error";

/// Returns the log; `uri` is what the code host calls the Dockerfile, a path from the top of the
/// repository.
pub fn sarif(report: &CheckReport, uri: &str) -> String {
    let mut rules: Vec<Value> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    let mut results = Vec::new();
    for found in &report.findings {
        let index = names.iter().position(|name| *name == found.rule);
        let index = index.unwrap_or_else(|| {
            names.push(found.rule);
            rules.push(rule(found));
            names.len() - 1
        });
        let text = match &found.help {
            Some(help) => format!("{}. {help}", found.message),
            None => found.message.clone(),
        };
        let region = region(&report.source, found.lines, found.span);
        results.push(result((found.rule, index, "warning"), &text, uri, region));
    }
    if let Some(error) = &report.error {
        rules.push(json!({
            "id": ERROR,
            "shortDescription": { "text": "The Dockerfile cannot be built." },
        }));
        let region = error
            .excerpts
            .first()
            .and_then(|place| of_excerpt(&report.source, place));
        // Code hosts want a place: what has none stands at the top.
        let region = region.or_else(|| Some(json!({ "startLine": 1 })));
        let kind = (ERROR, rules.len() - 1, "error");
        results.push(result(kind, &error.message, uri, region));
    }
    let driver = json!({
        "name": "rbuild",
        "version": env!("CARGO_PKG_VERSION"),
        "rules": rules,
    });
    let run = json!({
        "tool": { "driver": driver },
        "columnKind": "unicodeCodePoints",
        "results": results,
    });
    let log = json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": [run] });
    format!("{log:#}\n")
}

/// Returns a path as a URI reference: from `top` on, or a whole `file:` one if it lies elsewhere.
pub fn uri(path: &Path, top: &Path) -> String {
    let path = path.strip_prefix(top).unwrap_or(path);
    let path = path.strip_prefix(".").unwrap_or(path);
    let mut out = match path.is_absolute() {
        true => "file://".to_owned(),
        false => String::new(),
    };
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte.into());
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn rule(found: &Finding) -> Value {
    let mut rule = json!({
        "id": found.rule,
        "name": found.rule,
        "shortDescription": { "text": found.reason },
    });
    if let Some(url) = &found.url {
        rule["helpUri"] = url.clone().into();
    }
    rule
}

fn result(
    (rule, index, level): (&str, usize, &str),
    text: &str,
    uri: &str,
    region: Option<Value>,
) -> Value {
    let mut place = json!({ "artifactLocation": { "uri": uri } });
    if let Some(region) = region {
        place["region"] = region;
    }
    json!({
        "ruleId": rule,
        "ruleIndex": index,
        "level": level,
        "message": { "text": text },
        "locations": [{ "physicalLocation": place }],
    })
}

/// The narrower place if it is known, else whole lines.
fn region(source: &SourceFile, lines: LineRange, span: Option<Span>) -> Option<Value> {
    if let Some(span) = span.filter(|span| !span.is_empty()) {
        let (start, end) = (source.position(span.start), source.position(span.end));
        return Some(json!({
            "startLine": start.line,
            "startColumn": start.column,
            "endLine": end.line,
            "endColumn": end.column,
        }));
    }
    (lines.first > 0).then(|| json!({ "startLine": lines.first, "endLine": lines.last }))
}

fn of_excerpt(source: &SourceFile, place: &Excerpt) -> Option<Value> {
    let lines = LineRange {
        first: place.first_line,
        last: place.last_line,
    };
    region(source, lines, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_repository() {
        let check = |path: &str, wanted| assert_eq!(uri(path.as_ref(), "/top".as_ref()), wanted);
        check("/top/a/Dockerfile", "a/Dockerfile");
        check("./Dockerfile", "Dockerfile");
        check("/else/Dockerfile", "file:///else/Dockerfile");
        check("a b/%.Dockerfile", "a%20b/%25.Dockerfile");
    }
}
