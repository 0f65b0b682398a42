//! Files under `testdata/dockerfile`: the trees of good ones, the messages of bad ones.
//!
//! `RBUILD_UPDATE=1` writes the expectations anew; look at the difference before committing it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use rbuild_dockerfile::json::oracle_json;
use rbuild_dockerfile::{Diagnostic, Severity, SourceFile, decode, parse};

fn inputs(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/dockerfile")
        .join(folder);
    let entries = std::fs::read_dir(&root).expect("test data");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "dockerfile")
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no files in {}", root.display());
    found
}

/// Compares what `show` makes of each input with the file beside it.
fn check(folder: &str, extension: &str, show: fn(&str, &[u8]) -> String) {
    let mut wrong = Vec::new();
    for path in inputs(folder) {
        let name = path
            .file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read(&path).expect("input");
        let found = show(&name, &text);
        let expected_path = path.with_extension(extension);
        if std::env::var_os("RBUILD_UPDATE").is_some() {
            std::fs::write(&expected_path, &found).expect("write expectation");
            continue;
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if expected != found {
            wrong.push(format!("{name}: expected\n{expected}\nfound\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn tree(name: &str, bytes: &[u8]) -> String {
    let text = decode(bytes);
    let errors: Vec<String> = parse(&text)
        .diagnostics
        .iter()
        .filter(|found| found.is_error())
        .map(Diagnostic::full_message)
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:?}");
    let mut value = oracle_json(name, bytes);
    let object = value.as_object_mut().expect("object");
    // The typed form says it all but what has no type.
    object.retain(|key, _| {
        matches!(
            key.as_str(),
            "escape" | "syntax" | "check" | "meta_args" | "stages"
        )
    });
    let mut out = serde_json::to_string_pretty(&value).expect("JSON");
    out.push('\n');
    out
}

/// One finding with the lines it points at: severity, code, message; place; source; help.
fn render(source: &SourceFile, found: &Diagnostic, out: &mut String) -> std::fmt::Result {
    let severity = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    writeln!(
        out,
        "{severity}[{}]: {}",
        found.code.as_str(),
        found.full_message()
    )?;
    let start = source.position(found.span.start);
    let lines = source.lines_of(found.span);
    writeln!(
        out,
        "  --> {}:{}:{}",
        source.name(),
        start.line,
        start.column
    )?;
    for line in lines.first..=lines.last {
        let text = source.line_text(line);
        writeln!(out, "{line:4} | {text}")?;
        let line_start = source.line_span(line).start;
        let end = line_start + u32::try_from(text.len()).expect("short line");
        let (from, to) = (found.span.start.max(line_start), found.span.end.min(end));
        if from < to {
            let before = text[..(from - line_start) as usize].chars().count();
            let marked = text[(from - line_start) as usize..(to - line_start) as usize].chars();
            writeln!(
                out,
                "     | {}{}",
                " ".repeat(before),
                "^".repeat(marked.count())
            )?;
        }
    }
    match &found.help {
        Some(help) => writeln!(out, "     = help: {help}\n"),
        None => writeln!(out),
    }
}

fn messages(name: &str, bytes: &[u8]) -> String {
    let text = decode(bytes);
    let source = SourceFile::new(name, text.as_ref());
    let mut out = String::new();
    let diagnostics = parse(&text).diagnostics;
    assert!(!diagnostics.is_empty(), "{name}: nothing is wrong");
    for found in &diagnostics {
        render(&source, found, &mut out).expect("write to a string");
    }
    out
}

#[test]
fn good_files() {
    check("ok", "ast", tree);
}

#[test]
fn bad_files() {
    check("err", "txt", messages);
}
