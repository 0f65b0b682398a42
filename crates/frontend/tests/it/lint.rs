//! Rules that lowering checks, and the list of what a target takes from outside.

use rbuild_dockerfile::{SourceFile, parse};
use rbuild_frontend::{Extent, Known, Linting, LowerRequest, lint};
use rbuild_pattern::IgnoreSet;

use crate::world::{made_up, plan_of, request, with_args};

/// The findings as `Rule line [what is pointed at]`, in the order in which they were made.
fn found_with(text: &str, request: &LowerRequest) -> Vec<String> {
    let tree = parse(text).dockerfile;
    let mut known = Known::new();
    let found = loop {
        match lint(&tree, request, &known) {
            Linting::Done(found) => break found,
            Linting::Need(questions) => known.images.extend(questions.into_iter().map(|asked| {
                let answer = made_up(&asked.image);
                (asked.image, answer)
            })),
        }
    };
    let source = SourceFile::new("Dockerfile", text);
    let lines = found.iter().map(|found| {
        let line = found
            .spans
            .first()
            .map_or(0, |span| source.line_of(span.start));
        let mark = found.mark.map_or("", |span| span.of(text));
        format!("{} {line} [{mark}]", found.code.as_str())
    });
    lines.collect()
}

#[track_caller]
fn check(text: &str, wanted: &[&str]) {
    assert_eq!(found_with(text, &request()), wanted, "{text}");
}

#[test]
fn platforms_say_neither_too_much_nor_too_little() {
    let redundant = "RedundantTargetPlatform 1 [$TARGETPLATFORM]";
    check("FROM --platform=$TARGETPLATFORM a\n", &[redundant]);
    check("FROM --platform=$BUILDPLATFORM a\n", &[]);
    check("FROM --platform=$TARGETOS/$TARGETARCH a\n", &[]);
    let fixed = "FromPlatformFlagConstDisallowed 1 [linux/arm64]";
    check("FROM --platform=linux/arm64 a\n", &[fixed]);
    check("FROM --platform=linux/arm64 a AS other\n", &[fixed]);
    check("FROM --platform=linux/arm64 a AS build-arm64\n", &[]);
    check("FROM --platform=linux/arm64 a AS linux\n", &[]);
}

#[test]
fn legacy_pairs_and_promised_secrets() {
    check(
        "FROM a\nENV k v w\nLABEL l m\n",
        &["LegacyKeyValueFormat 2 [k]", "LegacyKeyValueFormat 3 [l]"],
    );
    check(
        "FROM a\nARG NPM_TOKEN\nENV my_key=1 KEY_FILE=2\n",
        &[
            "SecretsUsedInArgOrEnv 2 [NPM_TOKEN]",
            "SecretsUsedInArgOrEnv 3 [my_key]",
        ],
    );
    // What is declared for FROM lines is in no image.
    check("ARG TOKEN\nFROM a\n", &[]);
}

#[test]
fn variables_are_looked_at_up_to_an_error() {
    check("FROM a\nEXPOSE $p\nUSER $u\n", &["UndefinedVar 3 [$u]"]);
    check(
        "FROM a\nENV x=\"${t:i}\"\n",
        &["UndefinedVar 2 [\"${t:i}\"]", "expansion 2 []"],
    );
    check(
        "FROM a:${t:i}\n",
        &["UndefinedArgInFrom 1 [a:${t:i}]", "expansion 1 []"],
    );
}

#[test]
fn ignored_sources_are_named() {
    let with = |rules: &str, line: &str| {
        let mut request = request();
        request.ignored = IgnoreSet::parse(rules).ok();
        found_with(&format!("FROM a\n{line}\n"), &request)
    };
    assert_eq!(
        with("*.md", "COPY b README.md /"),
        ["CopyIgnoredFile 2 [README.md]"]
    );
    assert_eq!(
        with("docs", "ADD ./docs/x /"),
        ["CopyIgnoredFile 2 [./docs/x]"]
    );
    assert_eq!(with("*", "COPY . /"), ["CopyIgnoredFile 2 [.]"]);
    for (rules, line) in [
        ("*.md", "COPY . /"),
        ("*.md\n!README.md", "COPY README.md /"),
        ("*.md", "COPY --from=b README.md /"),
        ("f", "COPY <<f /\nf\n"),
    ] {
        assert!(with(rules, line).is_empty(), "{rules} {line}");
    }
}

#[test]
fn all_stages_are_looked_at_on_request() {
    let text = "FROM a AS unused\nWORKDIR x\nFROM a\n";
    check(text, &[]);
    let mut all = request();
    all.extent = Extent::All;
    assert_eq!(found_with(text, &all), ["WorkdirRelativePath 2 [x]"]);
}

#[test]
fn only_the_first_platform_warns() {
    let mut request = request();
    request.platforms = ["linux/amd64", "linux/arm64"]
        .map(|text| rbuild_oci::Platform::parse(text).expect("a platform"))
        .to_vec();
    let text = "FROM a\nUSER $u$u\nVOLUME $v $v\n";
    let two = [
        "UndefinedVar 2 [$u$u]",
        "UndefinedVar 3 [$v]",
        "UndefinedVar 3 [$v]",
    ];
    assert_eq!(found_with(text, &request)[..2], two[..2]);
    let plan = plan_of("FROM a\nUSER x$u\nENV a=$v b=$v\n", &request);
    let warned: Vec<&str> = plan
        .warnings
        .iter()
        .map(|found| found.code.as_str())
        .collect();
    assert_eq!(warned, ["UndefinedVar", "UndefinedVar", "UndefinedVar"]);
}

#[test]
fn a_target_lists_what_it_takes() {
    let text = "\
ARG TAG=1
# REPO where bases are
ARG REPO=r$TAG
ARG UNUSED=x
FROM $REPO AS base
# MODE how to build
ARG MODE=fast
FROM scratch AS other
ARG LOST
FROM base
ARG TAG TARGETARCH GIVEN
RUN --mount=type=secret,id=s,required --mount=type=ssh --mount=type=secret,id=t true
";
    let plan = plan_of(text, &with_args(&[("GIVEN", "g")]));
    let outline = &plan.outline;
    let args: Vec<String> = outline
        .args
        .iter()
        .map(|arg| {
            let text = |part: &Option<String>| part.clone().unwrap_or_default();
            format!(
                "{}={} {}",
                arg.name,
                text(&arg.value),
                text(&arg.description)
            )
        })
        .collect();
    let wanted = [
        "TAG=1 ",
        "REPO=r1 where bases are",
        "MODE=fast how to build",
        "GIVEN=g ",
    ];
    assert_eq!(args, wanted);
    let ids = |list: &[rbuild_frontend::Access]| -> Vec<(String, bool)> {
        list.iter()
            .map(|one| (one.name.clone(), one.required))
            .collect()
    };
    assert_eq!(
        ids(&outline.secrets),
        [("s".to_owned(), true), ("t".to_owned(), false)]
    );
    assert_eq!(ids(&outline.ssh), [("default".to_owned(), false)]);
    assert_eq!((&outline.name, &outline.description), (&None, &None));
}

#[test]
fn the_shell_of_a_run_sees_what_the_stage_declares() {
    let found = ["ArgOutOfScope 3 []"];
    check("ARG V=1\nFROM a\nRUN get $V\n", &found);
    check("ARG V=1\nFROM a\nRUN <<E\nget ${V%.*}\nE\n", &found);
    check("FROM a\n\nRUN build $TARGETARCH\n", &found);
    for run in [
        "ARG V\nRUN get $V",
        "ENV V=2\nRUN get $V",
        "RUN V=2; get $V",
        "RUN get '$V'",
        "RUN get ${V:-2}",
        "RUN [\"get\", \"$V\"]",
        "RUN --mount=type=secret,id=v,env=V get $V",
        "RUN get $W",
        "RUN <<'E' cat\n$V\nE",
    ] {
        check(&format!("ARG V=1\nFROM a\n{run}\n"), &[]);
    }
}

#[test]
fn scripts_end_at_a_failure() {
    let found = ["HeredocWithoutErrexit 2 []"];
    check("FROM a\nRUN <<E\nx\ny\nE\n", &found);
    check("FROM a\nRUN <<E\n#!/bin/bash\nx\ny\nE\n", &found);
    for run in [
        "RUN <<E\nset -e\nx\ny\nE",
        "RUN <<E\n#!/bin/sh -e\nx\ny\nE",
        "RUN <<E\n#!/usr/bin/python3\nx\ny\nE",
        "RUN cat <<E\nx\ny\nE",
        "SHELL [\"/bin/bash\", \"-ec\"]\nRUN <<E\nx\ny\nE",
    ] {
        check(&format!("FROM a\n{run}\n"), &[]);
    }
}

#[test]
fn several_files_go_into_a_directory() {
    check(
        "FROM a\nCOPY a.js b.js /app\n",
        &["SourcesToOneFile 2 [/app]"],
    );
    check(
        "FROM a\nCOPY <<a.js b.js x\n\na.js\n",
        &["SourcesToOneFile 2 [x]"],
    );
    for copy in [
        "COPY a.js b.js /app/",
        "COPY a.js b.js .",
        "COPY a b /app",
        "COPY a.js b.d/ /app",
        "COPY a.sh b.sh /usr/local/bin",
        "WORKDIR /app/x\nCOPY a.js b.js /app",
        "COPY --parents a.js b.js /app",
    ] {
        check(&format!("FROM a\n{copy}\n"), &[]);
    }
}

#[test]
fn an_empty_image_knows_no_names() {
    let text = "FROM scratch\nCOPY --chown=app:staff a /\nCOPY --chown=app a /\n";
    check(
        text,
        &["UnknownOwner 2 [app:staff]", "UnknownOwner 2 [app:staff]"],
    );
    check("FROM scratch\nCOPY --chown=0:root a /\n", &[]);
    check("FROM a\nCOPY --chown=app a /\n", &[]);
}
