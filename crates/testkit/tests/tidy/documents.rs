//! Rules over documents, and between documents and code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rbuild_testkit::{repository_root, run};

use crate::code::sources;
use crate::report;

/// Most lines a document may have.
const LENGTHS: &[(&str, usize)] = &[
    ("README.md", 200),
    ("docs/architecture.md", 500),
    ("docs/contributing.md", 100),
];

fn read(path: &str) -> String {
    let full = repository_root().join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("read {full:?}: {error}"))
}

/// Returns the files under version control, and those that would be.
fn repository_files() -> Vec<String> {
    let mut git = Command::new("git");
    git.current_dir(repository_root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let output = run(&mut git, Duration::from_secs(30))
        .expect_success()
        .stdout;
    output.lines().map(str::to_owned).collect()
}

#[test]
fn documents_stay_short() {
    let offences: Vec<_> = LENGTHS
        .iter()
        .map(|(path, limit)| (path, read(path).lines().count(), limit))
        .filter(|(_, lines, limit)| lines > limit)
        .map(|(path, lines, limit)| format!("{path}: {lines} lines, {limit} is the ceiling"))
        .collect();
    report("documents", &offences);
}

/// Most lines that the page of a rule may have.
const PAGE_LENGTH: usize = 40;

/// The codes stand in the match of `Code::as_str`; those of rules begin with a capital.
fn codes() -> (BTreeSet<String>, BTreeSet<String>) {
    let codes = sources()
        .into_iter()
        .filter(|file| file.path.ends_with("/diagnostic.rs"))
        .flat_map(|file| codes_in(&file.text));
    let (rules, errors): (BTreeSet<_>, BTreeSet<_>) =
        codes.partition(|code| code.starts_with(|c: char| c.is_ascii_uppercase()));
    assert!(
        rules.len() > 10 && errors.len() > 10,
        "found hardly any code: has `Code::as_str` moved?"
    );
    (rules, errors)
}

#[test]
fn every_rule_has_its_page_and_every_page_its_rule() {
    let (mut rules, _) = codes();
    let folder = "docs/checks/";
    let pages: BTreeSet<String> = repository_files()
        .iter()
        .filter_map(|path| path.strip_prefix(folder)?.strip_suffix(".md"))
        .filter(|name| *name != "README")
        .map(str::to_owned)
        .collect();
    let list = read("docs/checks/README.md");
    let table = read("crates/rbuild/src/rule.rs");
    // Rules about rules are in the table alone: no parser finds their breach.
    let in_table = table.lines().filter_map(|line| {
        let name = line.trim().strip_prefix('"')?.strip_suffix("\",")?;
        let is_name = name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains(' ');
        is_name.then(|| name.to_owned())
    });
    rules.extend(in_table);
    let mut offences = Vec::new();
    for rule in &rules {
        if !list.contains(&format!("- [{rule}]({rule}.md)\n")) {
            offences.push(format!("README.md does not list {rule}"));
        }
        if !table.contains(&format!("\"{rule}\",\n")) {
            offences.push(format!("{rule} is not in the table of rule.rs"));
        }
    }
    for name in rules.difference(&pages) {
        offences.push(format!("{name} has no page"));
    }
    for name in &pages {
        let page = read(&format!("{folder}{name}.md"));
        if !rules.contains(name) {
            offences.push(format!("{name} is no rule"));
        }
        if !page.starts_with(&format!("# {name}\n")) || page.lines().count() > PAGE_LENGTH {
            offences.push(format!("{name}.md has another title, or is too long"));
        }
    }
    report(folder, &offences);
}

/// Each code that is no rule needs a heading of its own.
#[test]
fn every_diagnostic_code_is_documented() {
    let document = read("docs/dockerfile.md");
    let documented: BTreeSet<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .collect();
    let (_, codes) = codes();
    let missing = codes
        .iter()
        .filter(|code| !documented.contains(code.as_str()));
    let stale = documented.iter().filter(|code| !codes.contains(**code));
    let offences: Vec<_> = missing
        .map(|code| format!("`{code}` has no paragraph"))
        .chain(stale.map(|code| format!("`{code}` is documented, but no such code exists")))
        .collect();
    report("docs/dockerfile.md", &offences);
}

/// The last cell of a row under a heading is the name of a test.
fn check_named_tests(document: &str, heading: &str) {
    let text = read(document);
    let named: Vec<&str> = text
        .lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_suffix("` |")?.rsplit_once("| `"))
        .map(|(_, name)| name)
        .collect();
    assert!(
        named.len() > 20,
        "{document}: found hardly any: has the table moved?"
    );
    let sources = sources();
    let is_there = |name: &str| {
        let head = format!("fn {name}(");
        sources.iter().any(|file| file.text.contains(&head))
    };
    let missing = named.into_iter().filter(|name| !is_there(name));
    let offences: Vec<_> = missing
        .map(|name| format!("no test is called `{name}`"))
        .collect();
    report(document, &offences);
}

#[test]
fn corners_of_the_language_name_tests_that_exist() {
    check_named_tests("docs/dockerfile.md", "## Corners of the language");
}

#[test]
fn faults_of_registries_name_tests_that_exist() {
    check_named_tests("docs/registries.md", "## Faults");
}

fn codes_in(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let (variant, value) = line.trim().split_once(" => \"")?;
            let of_code = variant.starts_with("Code::") || variant.starts_with("Self::");
            let value = value.strip_suffix("\",")?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            (of_code && value.bytes().all(plain)).then(|| value.to_owned())
        })
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut offences = Vec::new();
    for path in repository_files()
        .iter()
        .filter(|path| path.ends_with(".md"))
    {
        let text = read(path);
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        for target in link_targets(&text) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !repository_root().join(folder).join(file).exists() {
                offences.push(format!("{path}: {target}"));
            }
        }
    }
    report("dead links", &offences);
}

/// Returns the targets of inline links that are not addresses.
fn link_targets(text: &str) -> Vec<&str> {
    text.match_indices("](")
        .filter_map(|(at, _)| text[at + 2..].split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.contains(' '))
        .collect()
}

/// Written in halves, so that this file does not offend against its own rule.
#[test]
fn nothing_names_one_machine_or_stays_unfinished() {
    let banned = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("/work", "/main"),
        concat!("/work", "/shared"),
        concat!("deb.debian", ".org"),
        concat!("pypi", ".org"),
        concat!("npmjs", ".org"),
        concat!("npmjs", ".com"),
    ];
    let mut offences = Vec::new();
    for path in repository_files() {
        // Recorded inputs are other people's text.
        if path.starts_with("testdata/") || path == "Cargo.lock" {
            continue;
        }
        let Ok(text) = fs::read_to_string(repository_root().join(&path)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                offences.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    report("words that must not stand in the repository", &offences);
}

#[test]
fn text_files_end_with_one_newline_and_no_blanks() {
    let mut offences = Vec::new();
    for path in repository_files() {
        let checked = [".rs", ".md", ".toml", ".ebnf"]
            .iter()
            .any(|end| path.ends_with(end));
        if !checked || path.starts_with("testdata/") {
            continue;
        }
        let Ok(text) = fs::read_to_string(repository_root().join(&path)) else {
            continue;
        };
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            offences.push(format!("{path}: must end with exactly one newline"));
        }
        for (number, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                offences.push(format!(
                    "{path}:{}: blank at the end of the line",
                    number + 1
                ));
            }
        }
    }
    report("text files", &offences);
}
