//! The layer table of `docs/architecture.md` against the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rbuild_testkit::repository_root;

use crate::report;

struct Row {
    level: u32,
    may_depend_on: BTreeSet<String>,
}

/// Reads the rows between the `layers:begin` and `layers:end` marks: level, crate, one line, dependencies.
fn table() -> BTreeMap<String, Row> {
    let path = repository_root().join("docs/architecture.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path:?}: {error}"));
    let (_, rest) = text
        .split_once("<!-- layers:begin -->")
        .expect("the table has a begin mark");
    let (rows, _) = rest
        .split_once("<!-- layers:end -->")
        .expect("the table has an end mark");
    let mut table = BTreeMap::new();
    for line in rows.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [level, name, _, depends] = cells[..] else {
            panic!("a row of the layer table has four cells: {line}");
        };
        let may_depend_on = depends.split(',').map(str::trim);
        let row = Row {
            level: level
                .parse()
                .unwrap_or_else(|_| panic!("a level is a number: {line}")),
            may_depend_on: may_depend_on
                .filter(|name| !name.is_empty() && *name != "none")
                .map(|name| {
                    if name == "rbuild" {
                        name.to_owned()
                    } else {
                        format!("rbuild-{name}")
                    }
                })
                .collect(),
        };
        table.insert(name.trim_matches('`').to_owned(), row);
    }
    table
}

/// Returns package name to the packages of ours under `[dependencies]`, for each crate but the test kit.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let crates = repository_root().join("crates");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&crates)
        .expect("there is a folder of crates")
        .flatten()
    {
        let Ok(text) = fs::read_to_string(entry.path().join("Cargo.toml")) else {
            continue;
        };
        let (mut section, mut name, mut depends) = ("", String::new(), BTreeSet::new());
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            } else if let Some((key, value)) = line.split_once('=') {
                let key = key.trim().trim_end_matches(".workspace");
                if section == "[package]" && key == "name" {
                    name = value.trim().trim_matches('"').to_owned();
                }
                let is_dependency =
                    section == "[dependencies]" || section == "[build-dependencies]";
                if is_dependency && (key == "rbuild" || key.starts_with("rbuild-")) {
                    depends.insert(key.to_owned());
                }
            }
        }
        found.insert(name, depends);
    }
    found.remove("rbuild-testkit");
    found
}

#[test]
fn no_edge_outside_the_table() {
    let table = table();
    let mut offences = Vec::new();
    for (name, depends) in manifests() {
        let Some(row) = table.get(&name) else {
            offences.push(format!("{name} has no row"));
            continue;
        };
        for target in depends.difference(&row.may_depend_on) {
            offences.push(format!(
                "{name} depends on {target}, which its row does not allow"
            ));
        }
    }
    report("dependencies follow docs/architecture.md", &offences);
}

#[test]
fn the_table_names_exactly_the_crates_there_are() {
    let manifests = manifests();
    let offences: Vec<_> = table()
        .into_keys()
        .filter(|name| !manifests.contains_key(name))
        .map(|name| format!("{name} has a row, but no crate"))
        .collect();
    report("the layer table is current", &offences);
}

#[test]
fn dependencies_point_down_so_there_is_no_circle() {
    let table = table();
    let mut offences = Vec::new();
    for (name, row) in &table {
        for target in &row.may_depend_on {
            match table.get(target) {
                Some(lower) if lower.level < row.level => {}
                Some(_) => {
                    offences.push(format!("{name} may depend on {target}, which is not lower"))
                }
                None => offences.push(format!("{name} may depend on {target}, which has no row")),
            }
        }
    }
    report("each allowed edge leads to a lower level", &offences);
}

#[test]
fn the_test_kit_depends_on_none_of_ours() {
    let path = repository_root().join("crates/testkit/Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {path:?}: {error}"));
    let ours = text.lines().filter(|line| line.starts_with("rbuild"));
    report(
        "crates/testkit/Cargo.toml",
        &ours.map(str::to_owned).collect::<Vec<_>>(),
    );
}
