//! Questions about a Dockerfile instead of a build.

use rbuild_testkit::Finished;
use serde_json::Value;

use crate::place::{COPY, Place};

const DOUBTFUL: &str = "\
FROM scratch as base
# check the other stage as well
WORKDIR work
FROM scratch
COPY $SRC /
";

fn json(answer: &Finished) -> Value {
    serde_json::from_str(&answer.stdout).unwrap()
}

#[test]
fn a_check_shows_what_it_finds_in_all_stages_and_ends_with_1() {
    let place = Place::new(DOUBTFUL);
    let answer = place.rbuild(&["--check", "context"]).expect_code(1);
    let wanted = "\
Check complete, 3 warnings have been found!

WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
'as' and 'FROM' keywords' casing do not match
Dockerfile:1
--------------------
   1 | >>> FROM scratch as base
   2 |     # check the other stage as well
   3 |     WORKDIR work
--------------------
help: Write `AS`.

WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/
Relative workdir \"work\" can have unexpected results if the base image changes
Dockerfile:3
--------------------
   1 |     FROM scratch as base
   2 |     # check the other stage as well
   3 | >>> WORKDIR work
   4 |     FROM scratch
   5 |     COPY $SRC /
--------------------
help: Begin the path with `/`.

WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/
Usage of undefined variable '$SRC'
Dockerfile:5
--------------------
   3 |     WORKDIR work
   4 |     FROM scratch
   5 | >>> COPY $SRC /
   6 |     \n--------------------
help: Set it with ARG or ENV first, or write `\\$` for a dollar sign.
";
    assert_eq!(
        (answer.stdout.as_str(), answer.stderr.as_str()),
        (wanted, "")
    );
    let one = place.rbuild(&["--check", "--target", "base", "context"]);
    one.expect_code(1)
        .expect_text("2 warnings have been found!");
    let ignored = ["--call=check,ignorestatus=true", "context"];
    place.rbuild(&ignored).expect_success();
}

#[test]
fn a_check_of_a_clean_file_says_so() {
    let place = Place::new(COPY);
    for words in [&["--check", "context"][..], &["--call", "lint", "context"]] {
        let answer = place.rbuild(words).expect_success();
        assert_eq!(answer.stdout, "Check complete, no warnings found.\n");
    }
    // A check builds nothing.
    let images = place.rbuild(&["images", "-q"]).expect_success();
    assert_eq!(images.stdout, "");
    place
        .rbuild(&["--check=false", "-q", "context"])
        .expect_success();
}

#[test]
fn what_stops_a_build_is_shown_beside_the_warnings() {
    let place = Place::new("FROM scratch as a\nEXPOSE x\nWORKDIR b\n");
    let answer = place.rbuild(&["--check", "context"]).expect_code(1);
    assert!(
        answer.stdout.contains("2 warnings have been found!"),
        "{answer}"
    );
    assert!(
        answer.stderr.ends_with("ERROR: invalid containerPort: x\n"),
        "{answer}"
    );
    let answer = json(
        &place
            .rbuild(&["--call=check,format=json", "context"])
            .expect_code(1),
    );
    assert_eq!(answer["buildError"]["message"], "invalid containerPort: x");
    let range = &answer["buildError"]["location"]["ranges"][0];
    assert_eq!(range["start"]["line"], 2);
}

#[test]
fn the_files_own_options_are_heeded() {
    let skip = "# check=skip=FromAsCasing\nFROM scratch as a\n";
    Place::new(skip)
        .rbuild(&["--check", "context"])
        .expect_success();
    let error = Place::new("# check=error=true\nFROM scratch as a\n");
    error
        .rbuild(&["--check", "context"])
        .expect_code(1)
        .expect_text("ERROR: lint violation found for rules: FromAsCasing\n");
    let argument = "BUILDKIT_DOCKERFILE_CHECK=skip=all";
    error
        .rbuild(&["--check", "--build-arg", argument, "context"])
        .expect_success();
}

#[test]
fn rules_of_our_own_never_fail_a_build() {
    let text = "# check=error=true\nFROM scratch\nCOPY <<a.js <<b.js /app\n\na.js\n\nb.js\n";
    let place = Place::new(text);
    let built = place
        .rbuild(&["--progress", "plain", "context"])
        .expect_success();
    assert!(built.stderr.contains(" - SourcesToOneFile: "), "{built}");
    let checked = place.rbuild(&["--check", "context"]).expect_code(1);
    let checked = checked
        .expect_text("WARNING: SourcesToOneFile\n")
        .expect_text("`/app/`");
    assert_eq!(checked.stderr, "");
}

#[test]
fn json_has_buildkits_form_and_exact_places() {
    let place = Place::new(DOUBTFUL);
    let answer = place.rbuild(&["--call=check,format=json", "context"]);
    let answer = json(&answer.expect_code(1));
    assert_eq!(answer["warnings"].as_array().unwrap().len(), 3);
    let first = &answer["warnings"][0];
    assert_eq!(first["ruleName"], "FromAsCasing");
    assert_eq!(
        first["detail"],
        "'as' and 'FROM' keywords' casing do not match"
    );
    assert_eq!(first["location"]["ranges"][0]["start"]["line"], 1);
    assert_eq!(first["place"]["start"]["column"], 14);
    assert_eq!(answer["sources"][0]["filename"], "Dockerfile");
    assert!(answer.get("buildError").is_none());
    let clean = place_json(COPY, "check");
    assert_eq!(clean["warnings"], Value::Array(Vec::new()));
}

fn place_json(dockerfile: &str, method: &str) -> Value {
    let call = format!("--call={method},format=json");
    json(
        &Place::new(dockerfile)
            .rbuild(&[&call, "context"])
            .expect_success(),
    )
}

#[test]
fn code_hosts_get_sarif() {
    let place = Place::new(DOUBTFUL);
    let answer = place.rbuild(&["--call=check,format=sarif", "context"]);
    let log = json(&answer.expect_code(1));
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!((rules.len(), results.len()), (3, 3));
    for (at, result) in results.iter().enumerate() {
        assert_eq!(result["ruleIndex"], at);
        assert_eq!(result["ruleId"], rules[at]["id"]);
    }
    let place = &results[2]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "context/Dockerfile");
    let region = serde_json::json!({
        "startLine": 5, "startColumn": 6, "endLine": 5, "endColumn": 10,
    });
    assert_eq!(place["region"], region);
}

/// What the schema of SARIF 2.1.0 demands of the parts that are used here: the properties that must be there,
/// and those that may.
const SARIF: [(&str, &[&str], &[&str]); 9] = [
    ("log", &["version", "runs"], &["$schema"]),
    ("run", &["tool"], &["columnKind", "results"]),
    ("tool", &["driver"], &[]),
    ("driver", &["name"], &["version", "rules"]),
    ("rule", &["id"], &["name", "shortDescription", "helpUri"]),
    (
        "result",
        &["message"],
        &["ruleId", "ruleIndex", "level", "locations"],
    ),
    ("location", &[], &["physicalLocation"]),
    ("physicalLocation", &[], &["artifactLocation", "region"]),
    (
        "region",
        &[],
        &["startLine", "startColumn", "endLine", "endColumn"],
    ),
];

/// Panics unless an object has what it must have and nothing unknown.
#[track_caller]
fn assert_shape(kind: &str, value: &serde_json::Value) {
    let (_, must, may) = SARIF.iter().find(|(name, ..)| *name == kind).unwrap();
    let object = value.as_object().unwrap();
    for name in *must {
        assert!(object.contains_key(*name), "{kind} lacks {name}: {value}");
    }
    for name in object.keys() {
        let known = must.contains(&name.as_str()) || may.contains(&name.as_str());
        assert!(known, "{kind} has {name}: {value}");
    }
}

/// The schema itself is not part of this repository; these are its rules for what is written here.
#[test]
fn sarif_has_the_shape_that_its_schema_demands() {
    for (dockerfile, code) in [
        (DOUBTFUL, 1),
        ("FROM scratch\n", 0),
        ("FRO x\n", 1),
        ("", 1),
    ] {
        let place = Place::new(dockerfile);
        let answer = place.rbuild(&["--call=check,format=sarif", "context"]);
        let log = json(&answer.expect_code(code));
        assert_shape("log", &log);
        assert_eq!(log["version"], "2.1.0");
        for run in log["runs"].as_array().unwrap() {
            assert_shape("run", run);
            assert_shape("tool", &run["tool"]);
            let kinds = ["utf16CodeUnits", "unicodeCodePoints"];
            assert!(kinds.contains(&run["columnKind"].as_str().unwrap()));
            let driver = &run["tool"]["driver"];
            assert_shape("driver", driver);
            let rules = driver["rules"].as_array().unwrap();
            for rule in rules {
                assert_shape("rule", rule);
                assert!(rule["shortDescription"]["text"].is_string());
                assert!(rule.get("helpUri").is_none_or(|uri| {
                    uri.as_str().is_some_and(|uri| uri.starts_with("https://"))
                }));
            }
            for result in run["results"].as_array().unwrap() {
                assert_result(result, rules);
            }
        }
    }
}

#[track_caller]
fn assert_result(result: &serde_json::Value, rules: &[serde_json::Value]) {
    assert_shape("result", result);
    assert!(result["message"]["text"].is_string());
    let levels = ["none", "note", "warning", "error"];
    assert!(levels.contains(&result["level"].as_str().unwrap()));
    let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(rules[index]["id"], result["ruleId"]);
    for location in result["locations"].as_array().unwrap() {
        assert_shape("location", location);
        let place = &location["physicalLocation"];
        assert_shape("physicalLocation", place);
        assert!(place["artifactLocation"]["uri"].is_string());
        if let Some(region) = place.get("region") {
            assert_shape("region", region);
            // Lines and columns count from 1.
            let numbers = region.as_object().unwrap().values();
            assert!(numbers.map(|n| n.as_u64().unwrap()).all(|n| n >= 1));
        }
    }
}

const OUTLINE: &str = "\
# GO which Go
ARG GO=1
# tool the tool
FROM scratch AS tool
ARG GO EMPTY
RUN --mount=type=secret,id=npm,required --mount=type=ssh true
FROM scratch
";

#[test]
fn an_outline_lists_what_a_target_takes() {
    let place = Place::new(OUTLINE);
    let answer = place.rbuild(&["--call=outline", "--target=tool", "context"]);
    let wanted = "\
TARGET:        tool
DESCRIPTION:   the tool

BUILD ARG   VALUE   DESCRIPTION
GO          1       which Go
EMPTY               \n
SECRET   REQUIRED
npm      true

SSH       REQUIRED
default   \n
";
    assert_eq!(answer.expect_success().stdout, wanted);
    let nothing = place
        .rbuild(&["--call=outline", "context"])
        .expect_success();
    assert_eq!(nothing.stdout, "");
    let given = [
        "--call=outline,format=json",
        "--target=tool",
        "--build-arg=GO=2",
        "context",
    ];
    let answer = json(&place.rbuild(&given).expect_success());
    assert_eq!(answer["args"][1]["value"], "2");
    assert_eq!(answer["secrets"][0]["required"], true);
    assert_eq!(
        answer["ssh"][0]["location"]["ranges"][0]["start"]["line"],
        6
    );
    place
        .rbuild(&["--call=outline", "--target=tol", "context"])
        .expect_code(1)
        .expect_text("ERROR: target stage \"tol\" could not be found (did you mean tool?)");
}

#[test]
fn targets_are_listed() {
    let place = Place::new(OUTLINE);
    let answer = place
        .rbuild(&["--call=targets", "context"])
        .expect_success();
    let wanted = "\
TARGET      DESCRIPTION
tool        the tool
(default)   \n";
    assert_eq!(answer.stdout, wanted);
    let answer = place_json(OUTLINE, "targets");
    assert_eq!(answer["targets"][0]["base"], "scratch");
    assert_eq!(answer["targets"][1]["default"], true);
    let broken = Place::new("FROM\n").rbuild(&["--call=targets", "context"]);
    broken
        .expect_code(1)
        .expect_text("FROM requires either one or three arguments");
}

#[test]
fn what_can_be_asked_is_listed_and_the_rest_refused() {
    let place = Place::new(COPY);
    let listed = place.rbuild(&["--call=subrequests.describe", "context"]);
    listed.expect_success().expect_text("outline ");
    for call in [
        "--call=nope",
        "--call=check,format=xml",
        "--call=targets,format=sarif",
    ] {
        place.rbuild(&[call, "context"]).expect_code(2);
    }
}
