//! `rbuild explain`: builds of the past, one against another, and across machines.

use std::fs;

use rbuild_testkit::{Finished, Privilege, Tree, granted};
use serde_json::Value;

use crate::place::Place;

const DOCKERFILE: &str = "FROM busybox AS build\nCOPY src /src\nRUN echo $(cat /src/*) > /all\nFROM busybox\nCOPY --from=build /all /all\n";

fn place() -> Place {
    Place::with(
        DOCKERFILE,
        Tree::new().file("src/a", "1").file("src/b", "1"),
    )
}

#[track_caller]
fn says(done: &Finished, texts: &[&str]) {
    for text in texts {
        assert!(done.text().contains(text), "{text}\n{done}");
    }
}

fn runs(place: &Place) -> Vec<Value> {
    let listed = place.run(&["explain", "--runs", "--format", "json"]);
    let lines = listed.expect_success().stdout;
    let runs = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    runs.collect()
}

fn id(run: &Value) -> String {
    run["id"].as_str().expect("a name").to_owned()
}

#[test]
fn the_last_build_is_explained_step_by_step() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = place();
    let none = place.run(&["explain"]).expect_code(1);
    says(&none, &["no build is known"]);
    place.build(&[]).expect_success();
    place.write("src/a", "2");
    place.build(&[]).expect_success();
    let all = place.run(&["explain"]).expect_success();
    says(
        &all,
        &[
            "context/Dockerfile: succeeded, 3 of 3 steps made",
            "1 of 2 files differs: `src/a` content",
            "because [build 1/3] COPY src /src was made again",
        ],
    );
    for step in ["1", "build 1", "[build 1/3]", "copy SRC"] {
        let one = place.run(&["explain", step]).expect_success();
        says(
            &one,
            &[
                "[build 1/3] COPY src /src\n",
                "compared with",
                "  `src/a` content\n",
            ],
        );
        assert!(!one.text().contains("COPY --from"), "{one}");
    }
    let wrong = place.run(&["explain", "no such step"]).expect_code(2);
    says(&wrong, &["has no step \"no such step\""]);
    let json = place.run(&["explain", "--format", "json"]).expect_success();
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["steps"][0]["reason"]["kind"], "changed", "{json}");
    assert_eq!(json["steps"][0]["how"], "made", "{json}");
    assert_eq!(json["made"], 3);
}

#[test]
fn builds_that_change_nothing_are_not_noted() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = place();
    place.build(&[]).expect_success();
    place.build(&[]).expect_success();
    place.build(&[]).expect_success();
    assert_eq!(runs(&place).len(), 1);
    // One that goes back finds everything, and is another than the last.
    place.write("src/a", "2");
    place.build(&[]).expect_success();
    place.write("src/a", "1");
    place.build(&[]).expect_success();
    place.build(&[]).expect_success();
    let runs = runs(&place);
    assert_eq!(runs.len(), 3);
    assert_eq!(
        (&runs[0]["made"], &runs[0]["cached"]),
        (&0.into(), &3.into())
    );
    let table = place.run(&["explain", "--runs"]).expect_success();
    says(&table, &["0 of 3", "succeeded", "DOCKERFILE"]);
}

#[test]
fn failed_builds_are_explained_too() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\nRUN echo one\nRUN exit 7\nRUN echo three\n");
    place.build(&[]).expect_code(1);
    let first = place.run(&["explain"]).expect_success();
    says(&first, &["failed, 1 of 3 steps made", "not reached"]);
    let again = place.build(&[]).expect_code(1);
    says(&again, &["cache miss: an earlier build did not finish it"]);
}

#[test]
fn two_builds_are_compared() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = place();
    place.build(&[]).expect_success();
    place.write("src/b", "2");
    place.build(&["--build-arg", "TOKEN=hush"]).expect_success();
    let (now, then) = (id(&runs(&place)[0]), id(&runs(&place)[1]));
    let compared = place.run(&["explain", "--against", &then]).expect_success();
    says(
        &compared,
        &[
            "[build 1/3] COPY src /src: differs",
            "1 of 2 files differs: `src/b` content",
            "[build 2/3] RUN echo $(cat /src/*) > /all: differs",
            "[build 1/3] COPY src /src has another result than then",
        ],
    );
    let same = place.run(&["explain", "--run", &then, "--against", &then, "1"]);
    says(&same.expect_success(), &["COPY src /src: same"]);
    let json = place.run(&["explain", "--against", &then, "--format", "json"]);
    let json: Value = serde_json::from_str(&json.expect_success().stdout).expect("JSON");
    assert_eq!(
        (&json["run"], &json["against"]),
        (&now.into(), &then.into())
    );
    assert_eq!(json["steps"][0]["outcome"], "different");
    let unknown = place.run(&["explain", "--against", "1999"]).expect_code(2);
    says(&unknown, &["no build \"1999\" is known"]);
    let several = place.run(&["explain", "--against", "2"]).expect_code(2);
    says(&several, &["is the beginning of 2 builds"]);
}

#[test]
fn a_build_is_compared_with_one_of_another_machine() {
    if !granted(Privilege::Root) {
        return;
    }
    let (here, there) = (place(), place());
    there.write("src/a", "of there");
    fs::write(
        there.context().join("Dockerfile"),
        DOCKERFILE.replace("FROM busybox\n", "FROM busybox\nARG TOKEN\n"),
    )
    .expect("write");
    there.build(&["--build-arg", "TOKEN=hush"]).expect_success();
    here.build(&[]).expect_success();
    let file = here.dir().join("there.json");
    let file = file.to_string_lossy();
    there.run(&["explain", "--export", &file]).expect_success();
    let text = fs::read_to_string(&*file).expect("read");
    assert!(
        !text.contains("hush") && !text.contains("of there"),
        "{text}"
    );
    let compared = here.run(&["explain", "--against", &file]).expect_success();
    says(&compared, &["1 of 2 files differs: `src/a` content"]);
    // Also the other way, and without the store of either.
    let other = Place::new("");
    let ours = here.dir().join("here.json");
    let ours = ours.to_string_lossy();
    here.run(&["explain", "--export", &ours]).expect_success();
    let compared = other.run(&["explain", "--run", &file, "--against", &ours]);
    says(
        &compared.expect_success(),
        &["1 of 2 files differs: `src/a` content"],
    );
    // What is no such file is refused, and names in one steer no terminal.
    fs::write(&*ours, "{").expect("write");
    let refused = here.run(&["explain", "--against", &ours]).expect_code(1);
    says(&refused, &["is no exported run"]);
    fs::write(&*ours, text.replace("COPY src", "COPY \\u001b[2Jsrc")).expect("write");
    let shown = here.run(&["explain", "--run", &ours]).expect_success();
    assert!(!shown.text().contains('\u{1b}'), "{shown}");
    fs::write(&*ours, text.replace("\"form\":1", "\"form\":99")).expect("write");
    let refused = here.run(&["explain", "--against", &ours]).expect_code(1);
    says(&refused, &["it is of form 99"]);
}
