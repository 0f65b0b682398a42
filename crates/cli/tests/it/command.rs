//! The real command on Dockerfiles without RUN, which need no privilege.

use rbuild_testkit::{run, run_with_input};
use serde_json::Value;

use crate::place::{COPY, LIMIT, Place};

#[test]
fn wrong_usage_ends_with_2() {
    let place = Place::new(COPY);
    for words in [
        &["images", "--nope"][..],
        &["-t", "UPPER", "context"],
        &["build"],
        &["-o", "type=what", "context"],
        &["--secret", "id=a,src=missing", "context"],
        &["--ssh", "default", "context"],
        &["https://example.org/x.git?what=1"],
        &["-f", "-", "-"],
        &["-f", "Dockerfile", "-"],
    ] {
        place.rbuild(words).expect_code(2);
    }
}

#[test]
fn an_archive_that_is_none_is_said() {
    let place = Place::new(COPY);
    run_with_input(&mut place.command(&["-"]), b"\x1f\x8b\x08archive", LIMIT)
        .expect_code(1)
        .expect_text("no tar archive");
}

#[test]
fn build_shows_its_steps_and_hands_out_the_image() {
    let place = Place::new(COPY);
    let built = place.rbuild(&[
        "-t",
        "app",
        "--iidfile",
        "id",
        "--metadata-file",
        "meta",
        "context",
    ]);
    let built = built.expect_success();
    assert_eq!(built.stdout, "");
    for line in [
        " [internal] load build definition from Dockerfile\n",
        " COPY a.txt /\n",
    ] {
        assert!(built.stderr.contains(line.trim_start()), "{built}");
    }
    let id = place.read("id");
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    let metadata: Value = serde_json::from_str(&place.read("meta")).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], *id);
    assert_eq!(metadata["image.name"], "docker.io/library/app:latest");

    let again = place.rbuild(&["context"]).expect_success();
    assert!(again.stderr.contains("CACHED\n"), "{again}");

    let quiet = place.rbuild(&["-q", "context"]).expect_success();
    assert_eq!(
        (quiet.stdout.as_str(), quiet.stderr.as_str()),
        (format!("{id}\n").as_str(), "")
    );
}

#[test]
fn images_are_listed_named_shown_and_removed() {
    let place = Place::new(COPY);
    assert_eq!(
        place
            .rbuild(&["images"])
            .expect_success()
            .stdout
            .lines()
            .count(),
        1
    );
    place
        .rbuild(&["-q", "-t", "app", "context"])
        .expect_success();
    place
        .rbuild(&["tag", "app", "registry.example/team/app:2"])
        .expect_success();
    let list = place
        .rbuild(&["images", "--format", "json"])
        .expect_success()
        .stdout;
    let mut names: Vec<String> = list
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|image| format!("{}:{}", image["Repository"], image["Tag"]).replace('"', ""))
        .collect();
    names.sort();
    assert_eq!(names, ["app:latest", "registry.example/team/app:2"]);
    let named = place.rbuild(&["images", "-a", "-q", "*/team/app"]);
    let other = place.rbuild(&["images", "-q", "no/such"]);
    assert_eq!(
        (named.stdout.lines().count(), other.stdout.as_str()),
        (1, "")
    );
    let one = place.rbuild(&["images", "--filter", "reference=*/team/app", "-q"]);
    assert_eq!(one.expect_success().stdout.lines().count(), 1);
    let shown = place.rbuild(&["inspect", "app"]).expect_success().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["Config"]["Cmd"][0], "/a");
    place
        .rbuild(&["history", "app"])
        .expect_success()
        .expect_text("COPY a.txt /");
    place
        .rbuild(&["rmi", "app"])
        .expect_success()
        .expect_text("Untagged: app:latest");
    place
        .rbuild(&["rmi", "registry.example/team/app:2"])
        .expect_success()
        .expect_text("Deleted: sha256:");
    place
        .rbuild(&["inspect", "app"])
        .expect_code(1)
        .expect_text("no such image");
}

#[test]
fn failure_shows_where() {
    let place = Place::new("FROM scratch\nCOPY missing /\n");
    let failed = place.rbuild(&["context"]).expect_code(1);
    assert!(
        failed.stderr.contains("   2 | >>> COPY missing /\n"),
        "{failed}"
    );
    let last = failed.stderr.lines().last().unwrap();
    assert!(last.starts_with("ERROR: failed to solve: "), "{failed}");
    assert_eq!(failed.stdout, "");
}

#[test]
fn dockerfile_comes_from_standard_input() {
    let place = Place::new("NONSENSE\n");
    let mut command = place.command(&["-q", "-f", "-", "context"]);
    run_with_input(&mut command, COPY.as_bytes(), LIMIT).expect_success();
    let mut command = place.command(&["-q", "-"]);
    run_with_input(&mut command, b"FROM scratch\nLABEL a=b\n", LIMIT).expect_success();
}

#[test]
fn raw_progress_is_json_by_the_line() {
    let place = Place::new(COPY);
    let built = place
        .rbuild(&["--progress", "rawjson", "context"])
        .expect_success();
    let records: Vec<Value> = built
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        records
            .iter()
            .any(|record| record["vertexes"][0]["completed"].is_string())
    );
}

#[test]
fn values_without_a_value_come_from_the_environment() {
    let place = Place::new("FROM scratch\nARG A\nLABEL a=\"$A\"\n");
    let mut command = place.command(&["-q", "-t", "app", "--build-arg", "A", "context"]);
    command
        .env("A", "from outside")
        .env("SOURCE_DATE_EPOCH", "0");
    run(&mut command, LIMIT).expect_success();
    let shown = place.rbuild(&["inspect", "app"]).expect_success().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["Config"]["Labels"]["a"], "from outside");
    assert_eq!(shown[0]["Created"], "1970-01-01T00:00:00Z");
}

#[test]
fn reader_that_goes_away_is_no_failure() {
    let place = Place::new(COPY);
    place
        .rbuild(&["-q", "-t", "app", "context"])
        .expect_success();
    let mut child = place
        .command(&["inspect", "app"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}
