//! Every grammar rule names a function that exists and names the rule, and the reverse.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild_testkit::ebnf;

/// The crates whose parsers the grammars describe.
const CRATES: [&str; 3] = ["dockerfile", "oci", "pattern"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("source folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns `crate::module` of a source file.
fn module(name: &str, root: &Path, path: &Path) -> String {
    let inner = path
        .strip_prefix(root)
        .expect("below src")
        .with_extension("");
    let mut parts = vec![name.to_owned()];
    parts.extend(inner.iter().map(|part| part.to_string_lossy().into_owned()));
    parts.retain(|part| part != "lib" && part != "mod");
    parts.join("::")
}

/// Returns the rules that functions claim to implement: rule to function, types left out.
fn claims() -> BTreeMap<String, String> {
    let mut claims = BTreeMap::new();
    for name in CRATES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(name)
            .join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).expect("source");
            let mut pending = Vec::new();
            for line in text.lines().map(str::trim_start) {
                if let Some(rule) = line.strip_prefix("/// Grammar: ") {
                    pending.push(rule.trim().to_owned());
                } else if let Some((_, after)) =
                    line.split_once("fn ").filter(|_| !pending.is_empty())
                {
                    let end = after.find(['(', '<']).unwrap_or(after.len());
                    let function = format!("{}::{}", module(name, &root, &file), &after[..end]);
                    for rule in pending.drain(..) {
                        let before = claims.insert(rule.clone(), function.clone());
                        assert_eq!(before, None, "{rule} is claimed twice");
                    }
                }
            }
            assert!(
                pending.is_empty(),
                "{}: {pending:?} belong to no function",
                file.display()
            );
        }
    }
    claims
}

fn without_types(path: &str) -> String {
    let is_type = |part: &&str| part.starts_with(|ch: char| ch.is_ascii_uppercase());
    let parts: Vec<&str> = path.split("::").filter(|part| !is_type(part)).collect();
    parts.join("::")
}

#[test]
fn rules_and_functions_name_each_other() {
    let mut claims = claims();
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(ebnf::folder()).expect("grammar") {
        let file = entry
            .expect("entry")
            .file_name()
            .to_string_lossy()
            .into_owned();
        if !file.ends_with(".ebnf") {
            continue;
        }
        for (rule, body) in ebnf::read(&file) {
            let name = format!("{file}#{rule}");
            let wanted = without_types(&body.function);
            match claims.remove(&name) {
                Some(function) if function == wanted => {}
                Some(function) => wrong.push(format!("{name} = {wanted}, claimed by {function}")),
                None => wrong.push(format!("{name} = {wanted}, which does not say so")),
            }
        }
    }
    wrong.extend(
        claims
            .iter()
            .map(|(rule, function)| format!("{function}: no rule {rule}")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
