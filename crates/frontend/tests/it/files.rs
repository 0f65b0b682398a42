//! Whole files of `testdata/graph`: the drawing and a listing of the plan.
//!
//! `RBUILD_UPDATE=1` rewrites the expectations.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use rbuild_dockerfile::{LineRange, SourceFile};
use rbuild_frontend::{Plan, PlanResult};

use crate::world::{lower_with, made_up, request};

#[test]
fn files_give_the_recorded_plans() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/graph");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("testdata/graph")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "dockerfile")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(&file).expect("a file");
        match lower_with(&text, &request(), &made_up) {
            Ok(plan) => {
                compare(&file.with_extension("dot"), &plan.to_dot());
                compare(&file.with_extension("txt"), &listing(&text, &plan));
            }
            Err(errors) => compare(&file.with_extension("txt"), &(errors.join("\n") + "\n")),
        }
    }
}

fn compare(path: &Path, got: &str) {
    if std::env::var_os("RBUILD_UPDATE").is_some() {
        fs::write(path, got).expect("write the expectation");
        return;
    }
    let wanted = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        got,
        wanted,
        "{} (RBUILD_UPDATE=1 rewrites it)",
        path.display()
    );
}

fn listing(text: &str, plan: &Plan) -> String {
    let source = SourceFile::new("Dockerfile", text);
    let mut out = String::new();
    for ix in plan.graph.topological() {
        let vertex = plan.graph.vertex(ix);
        let lines: Vec<String> = plan.origins[&ix]
            .iter()
            .map(|span| range(source.lines_of(*span)))
            .collect();
        let inputs: Vec<String> = vertex.inputs.iter().map(ToString::to_string).collect();
        let stages: Vec<&str> = plan
            .stages
            .get(&ix)
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let op = serde_json::to_string_pretty(&vertex.op).expect("an op is JSON");
        let _ = writeln!(out, "{ix} {}", plan.names[&ix]);
        let _ = writeln!(
            out,
            "  lines {}; stages {}",
            lines.join(" "),
            stages.join(" ")
        );
        let _ = writeln!(out, "  inputs {}", inputs.join(" "));
        let _ = writeln!(out, "{op}\n");
    }
    for result in &plan.results {
        out.push_str(&result_listing(result));
    }
    for warning in &plan.warnings {
        let line = warning
            .spans
            .first()
            .map_or(0, |span| source.line_of(span.start));
        let _ = writeln!(
            out,
            "warning, line {line}: {}: {warning}",
            warning.code.as_str()
        );
    }
    out
}

fn range(lines: LineRange) -> String {
    match lines.first == lines.last {
        true => lines.first.to_string(),
        false => format!("{}-{}", lines.first, lines.last),
    }
}

fn result_listing(result: &PlanResult) -> String {
    let edge = result
        .edge
        .map_or("none".to_owned(), |edge| edge.to_string());
    let config = serde_json::to_string_pretty(&result.config.config).expect("a config is JSON");
    let mut out = format!("result {}: {edge}\n{config}\n", result.platform);
    for item in &result.history {
        let layer = item.layer.map_or("-".to_owned(), |layer| layer.to_string());
        let _ = writeln!(out, "{layer:4} {}", item.created_by.escape_debug());
    }
    out
}
