//! Options as scripts written for `docker build` pass them.

use rbuild_testkit::run;
use serde_json::Value;

use crate::place::{COPY, LIMIT, Place};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn last_of_a_repeated_option_counts() {
    let place = Place::new("FROM scratch AS one\nCOPY a.txt /\nFROM scratch\n");
    let words = "--progress plain --progress quiet -f nope -f context/Dockerfile --target nope \
                 --target one --iidfile a --iidfile b --metadata-file c --metadata-file d \
                 --network none --network default --shm-size 1 --shm-size 1m --pull --pull=false \
                 --no-cache --no-cache=false -q -q -t a -t b context";
    let built = place.rbuild(&words.split_whitespace().collect::<Vec<_>>());
    let id = built.expect_success().stdout;
    assert_eq!(place.read("b"), id.trim());
    assert_eq!(json(&place.read("d"))["containerimage.digest"], id.trim());
    let missing = |name| !place.dir.path().join(name).exists();
    assert!(missing("a") && missing("c"));
    let names = place.rbuild(&["images", "-q", "--filter", "reference=a"]);
    assert!(!names.expect_success().stdout.is_empty(), "names add up");
    place
        .rbuild(&["--root", "nowhere", "--root", "store", "images"])
        .expect_success();
}

#[test]
fn switches_take_truth_values() {
    let place = Place::new(COPY);
    place
        .rbuild(&[
            "-qt",
            "app",
            "--push=false",
            "--load=false",
            "--rm=true",
            "context",
        ])
        .expect_success();
    let loud = place.rbuild(&["--quiet=false", "--no-cache=true", "context"]);
    assert_eq!(loud.expect_success().stdout, "");
    place.rbuild(&["--push=perhaps", "context"]).expect_code(2);
}

#[test]
fn options_without_effect_are_accepted() {
    let place = Place::new(COPY);
    let words = "--builder default --provenance=false --provenance false --sbom=false \
                 --attest type=provenance,disabled=true --force-rm --rm --isolation default \
                 --call build --squash=false -D --add-host host.docker.internal:host-gateway context";
    let built = place.rbuild(&words.split_whitespace().collect::<Vec<_>>());
    let built = built.expect_success();
    assert!(!built.stderr.contains("WARNING"), "{built}");
    let noted = place.rbuild(&["-m", "1g", "--compress", "--squash", "context"]);
    noted
        .expect_success()
        .expect_text("WARNING: --memory is ignored: ")
        .expect_text("WARNING: --compress is ignored: ")
        .expect_text("WARNING: --squash is ignored: ");
    let mut command = place.command(&["-q", "context"]);
    command
        .env("DOCKER_BUILDKIT", "1")
        .env("BUILDKIT_PROGRESS", "")
        .env("DOCKER_DEFAULT_PLATFORM", "");
    run(&mut command, LIMIT).expect_success();
}

#[test]
fn options_that_cannot_be_honoured_are_refused_in_a_sentence() {
    let place = Place::new(COPY);
    for option in [
        "--provenance=mode=max",
        "--sbom=true",
        "--attest=type=sbom",
        "--resource=memory=1g",
        "--cgroup-parent=/x",
        "--policy=x.rego",
    ] {
        let refused = place.rbuild(&[option, "context"]).expect_code(2);
        let name = option.split('=').next().unwrap();
        let start = format!("ERROR: {name}: ");
        assert!(refused.stderr.starts_with(&start), "{refused}");
        assert_eq!(refused.stderr.lines().count(), 1, "{refused}");
    }
}

#[test]
fn platform_may_come_from_dockers_variable() {
    let place = Place::new(COPY);
    let mut command = place.command(&["-qt", "app", "context"]);
    command.env("DOCKER_DEFAULT_PLATFORM", "linux/s390x");
    run(&mut command, LIMIT).expect_success();
    let shown = json(&place.rbuild(&["inspect", "app"]).expect_success().stdout);
    assert_eq!(shown[0]["Architecture"], "s390x");
}

#[test]
fn several_platforms_make_an_index() {
    let place = Place::new(COPY);
    let both = "linux/s390x,linux/riscv64";
    let words = ["--platform", both, "-t", "app", "--iidfile", "id"];
    let words = [&words[..], &["--metadata-file", "meta"]].concat();
    place
        .rbuild(&[&words[..], &["context"]].concat())
        .expect_success();
    let listed = json(&place.rbuild(&["images", "--format", "json"]).stdout);
    assert_eq!(listed["Platform"], both);
    assert!(place.read("id").contains(listed["ID"].as_str().unwrap()));
    let docker = ["-o", "type=docker,dest=x.tar", "context"];
    place
        .rbuild(&[&words[..], &docker].concat())
        .expect_code(2)
        .expect_text("docker exporter does not currently support exporting manifest lists");
    let oci = ["-o", "type=oci,tar=false,dest=layout", "context"];
    place.rbuild(&[&words[..], &oci].concat()).expect_success();
    let metadata = json(&place.read("meta"));
    let index = json(&place.read("layout/index.json"))["manifests"][0]["digest"].clone();
    assert_eq!(metadata["containerimage.digest"], index);
    assert_eq!(metadata["containerimage.descriptor"]["digest"], index);
    assert_eq!(metadata["containerimage.config.digest"], Value::Null);
    assert_eq!(place.read("id"), index.as_str().unwrap());
    // The name has moved on to what was exported, and nothing else is left.
    let listed = place
        .rbuild(&["images", "--no-trunc", "--format", "json"])
        .stdout;
    assert_eq!(json(&listed)["ID"], index);
    let shown = json(&place.rbuild(&["inspect", "app"]).stdout);
    assert_eq!(shown[0]["Manifests"][1]["Platform"], "linux/riscv64");
    assert_eq!(shown[0]["Id"], index);
    let one = ["inspect", "--platform", "linux/riscv64", "app"];
    let shown = json(&place.rbuild(&one).stdout);
    assert_eq!(shown[0]["Architecture"], "riscv64");
    place
        .rbuild(&["history", "app"])
        .expect_code(1)
        .expect_text("app has no image for")
        .expect_text("--platform");
}

#[test]
fn annotations_go_where_a_manifest_is() {
    let place = Place::new(COPY);
    let words = ["--annotation", "org.example.a=b", "context"];
    place
        .rbuild(&words)
        .expect_success()
        .expect_text("WARNING: --annotation is ignored: ");
    let oci = ["-o", "type=oci,tar=false,dest=layout"];
    let built = place.rbuild(&[&oci[..], &words].concat());
    built.expect_success();
    let digest = json(&place.read("layout/index.json"))["manifests"][0]["digest"].clone();
    let blob = digest.as_str().unwrap().replace(':', "/");
    let manifest = json(&place.read(&format!("layout/blobs/{blob}")));
    assert_eq!(manifest["annotations"]["org.example.a"], "b");
    place
        .rbuild(&["--annotation", "nowhere:a=b", "context"])
        .expect_code(2)
        .expect_text("annotation place");
}

#[test]
fn warnings_name_their_rule() {
    let place = Place::new("FROM scratch\nCOPY a.txt /\nCMD echo\n");
    let rule = "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended \
                behavior related to OS signals (line 3)";
    let built = place.rbuild(&["context"]).expect_success();
    assert!(
        built
            .stderr
            .ends_with(&format!("\n 1 warning found:\n - {rule}\n")),
        "{built}"
    );
    let raw = place.rbuild(&["--progress", "rawjson", "context"]);
    let raw = raw.expect_success().stderr;
    let note = raw
        .lines()
        .map(json)
        .find(|record| !record["warnings"].is_null())
        .unwrap();
    let page = "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/";
    assert_eq!(note["warnings"][0]["url"], page);
    assert_eq!(note["warnings"][0]["range"][0]["start"]["line"], 3);
}

#[test]
fn what_is_missing_is_named() {
    let place = Place::new(COPY);
    place
        .rbuild(&["--build-context", "base=nowhere", "context"])
        .expect_code(2)
        .expect_text("unable to prepare context base: path \"nowhere\" not found");
    place
        .rbuild(&["build"])
        .expect_code(2)
        .expect_text("Usage: rbuild build [OPTIONS] PATH");
    place.rbuild(&[]).expect_success().expect_text("Commands:");
    let text = "a line\nanother line\n".repeat(99);
    std::fs::write(place.dir.path().join("text"), text).unwrap();
    let refused = place.rbuild(&["import", "x", "text"]).expect_code(1);
    assert!(!refused.stderr.contains("another line"), "{refused}");
}

#[test]
fn an_archive_on_standard_output_is_alone_there() {
    let place = Place::new(COPY);
    let mut command = place.command(&["-q", "-o", "type=docker,dest=-", "context"]);
    let output = command.output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout.len() > 1024 && output.stdout.ends_with(&[0; 1024]));
}

#[test]
fn places_that_cannot_be_written_are_noticed_before_building() {
    let place = Place::new("FROM scratch\nCOPY a.txt /\nCOPY missing /\n");
    let folder = place.dir.path().display().to_string();
    for (option, path) in [
        ("--iidfile", "none/id"),
        ("--metadata-file", "none/meta"),
        ("--metadata-file", "context/a.txt/meta"),
        ("--iidfile", "context"),
        ("-o", "type=oci,dest=none/image.tar"),
        ("-o", "type=docker,dest=none/image.tar"),
        ("-o", "type=tar,dest=none/files.tar"),
        ("-o", "type=local,dest=context/a.txt/files"),
        ("-o", "type=oci,tar=false,dest=context/a.txt/layout"),
    ] {
        let refused = place.rbuild(&[option, path, "context"]).expect_code(2);
        // Not what the build would fail with.
        assert!(!refused.stderr.contains("missing"), "{refused}");
        let last = path.rsplit('=').next().unwrap();
        assert!(refused.stderr.contains(last), "{refused}");
    }
    assert!(!place.dir.path().join("none").exists(), "{folder}");
}

#[test]
fn an_old_id_does_not_outlive_a_failed_build() {
    let place = Place::new(COPY);
    place
        .rbuild(&["--iidfile", "id", "context"])
        .expect_success();
    assert!(place.read("id").starts_with("sha256:"));
    place
        .rbuild(&["--iidfile", "id", "--target", "nope", "context"])
        .expect_code(1);
    assert!(!place.dir.path().join("id").exists());
}
