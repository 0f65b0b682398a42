//! Licences and bans over `cargo metadata`.

use std::process::Command;
use std::time::Duration;

use rbuild_testkit::{repository_root, run};
use serde_json::Value;

use crate::report;

/// Licences that may be combined with Apache-2.0 in a program.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Crates that must not come in, each with the reason.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-rs", "one TLS provider: ring"),
    ("aws-lc-sys", "one TLS provider: ring"),
    ("native-tls", "rustls only"),
    ("openssl", "rustls only"),
    ("openssl-sys", "rustls only; no system library"),
    ("cmake", "a C compiler is all a build may need"),
    (
        "libz-ng-sys",
        "its bytes differ from zlib-rs and it needs cmake",
    ),
    ("libseccomp", "no system library"),
    ("tokio-tar", "unmaintained, RUSTSEC-2025-0111"),
    ("serde_yml", "RUSTSEC-2025-0068"),
    ("lazy_static", "the standard library has LazyLock"),
];

/// Crates that others bring, and that none of ours may use, each with the reason.
const NOT_OURS: &[(&str, &str)] = &[(
    "chrono",
    "jiff is our clock; object_store reads dates with it",
)];

fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository_root()).args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ]);
    let output = run(&mut cargo, Duration::from_secs(120))
        .expect_success()
        .stdout;
    let metadata: Value = serde_json::from_str(&output).expect("cargo prints JSON");
    metadata["packages"]
        .as_array()
        .cloned()
        .expect("the metadata lists packages")
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

/// Whether an SPDX expression can be satisfied with allowed licences alone.
fn satisfied(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // No expression in use nests OR below AND in a way that this reading would wrongly allow: every term
    // of some alternative must be on the list.
    expression.split(" OR ").any(|alternative| {
        alternative
            .split(" AND ")
            .all(|licence| ALLOWED.contains(&licence.trim()))
    })
}

#[test]
fn licences_are_permissive() {
    let offences: Vec<_> = packages()
        .iter()
        .filter(|package| !package["source"].is_null())
        .filter(|package| !satisfied(text(package, "license")))
        .map(|package| {
            format!(
                "{} is under {:?}",
                text(package, "name"),
                text(package, "license")
            )
        })
        .collect();
    report("licences of dependencies", &offences);
}

#[test]
fn banned_crates_stay_out() {
    let packages = packages();
    let offences: Vec<_> = BANNED
        .iter()
        .filter(|(name, _)| {
            packages
                .iter()
                .any(|package| text(package, "name") == *name)
        })
        .map(|(name, reason)| format!("{name}: {reason}"))
        .collect();
    report("banned crates", &offences);
}

#[test]
fn what_others_bring_is_not_used() {
    let mut offences = Vec::new();
    for package in packages()
        .iter()
        .filter(|package| package["source"].is_null())
    {
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let name = text(dependency, "name");
            if let Some((_, reason)) = NOT_OURS.iter().find(|(other, _)| *other == name) {
                offences.push(format!("{} uses {name}: {reason}", text(package, "name")));
            }
        }
    }
    report("crates that are not ours to use", &offences);
}

#[test]
fn licence_expressions_are_read_as_written() {
    assert!(satisfied("MIT OR GPL-3.0"));
    assert!(satisfied("MIT/Apache-2.0"));
    assert!(satisfied("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!satisfied("GPL-3.0-only"));
    assert!(!satisfied("MIT AND GPL-2.0"));
}
