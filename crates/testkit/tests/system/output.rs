//! Results other than a tag, and that equal input gives equal bytes.

use std::fs;

use rbuild_testkit::{Listing, Privilege, Tree, granted};

use crate::place::Place;

const MIXED: &str = "FROM busybox AS build\n\
    RUN mkdir /out && echo built > /out/file && ln -s file /out/link && chmod 4750 /out/file && \\\n\
        touch -h -d @1600000000 /out/file /out/link && touch -d @1600000000 /out\n\
    FROM busybox\n\
    COPY --from=build /out /out\n\
    COPY src /src\n\
    LABEL b=2 a=1\n";

fn mixed() -> Place {
    Place::with(
        MIXED,
        Tree::new()
            .dir("src")
            .mtime(1_600_000_000)
            .file("src/b", "b")
            .mtime(1_600_000_000)
            .file("src/a", "a")
            .mode(0o600)
            .mtime(1_600_000_000),
    )
}

#[test]
fn equal_input_and_epoch_give_equal_bytes() {
    if !granted(Privilege::Root) {
        return;
    }
    let archive = |compression: &str| {
        let place = mixed();
        let spec = format!("type=oci,dest=image.tar,compression={compression}");
        // What must not matter differs: the store, the place and the moment.
        place
            .build(&["-o", &spec, "--build-arg", "SOURCE_DATE_EPOCH=1700000000"])
            .expect_success();
        fs::read(place.dir().join("image.tar")).expect("read the archive")
    };
    for compression in ["gzip", "zstd", "uncompressed"] {
        assert!(
            archive(compression) == archive(compression),
            "{compression} differs"
        );
    }
}

#[test]
fn local_and_tar_outputs_hold_the_same_files() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = mixed();
    place
        .build(&["-o", "type=local,dest=files"])
        .expect_success();
    place
        .build(&["-o", "type=tar,dest=files.tar"])
        .expect_success();
    let unpacked = place.dir().join("unpacked");
    fs::create_dir(&unpacked).expect("make a directory");
    let mut tar = std::process::Command::new("tar");
    tar.args(["--same-owner", "-xpf"])
        .arg(place.dir().join("files.tar"))
        .arg("-C")
        .arg(&unpacked);
    rbuild_testkit::run(&mut tar, crate::place::LIMIT).expect_success();
    let files = Listing::of(place.dir().join("files"));
    assert!(
        files
            .get("out/file")
            .is_some_and(|line| line.starts_with("file 4750 0:0")),
        "{files}"
    );
    assert_eq!(files.difference(&Listing::of(unpacked)), "");
}

#[test]
fn id_and_metadata_files_are_written() {
    let place = Place::new("FROM scratch\nLABEL a=b\n");
    place
        .build(&[
            "-t",
            "labelled:1",
            "--iidfile",
            "id",
            "--metadata-file",
            "meta.json",
        ])
        .expect_success();
    let id = fs::read_to_string(place.dir().join("id")).expect("read the id file");
    assert!(
        id.trim().starts_with("sha256:") && id.trim().len() == 71,
        "{id:?}"
    );
    let text = fs::read_to_string(place.dir().join("meta.json")).expect("read the metadata");
    let metadata: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(
        metadata["containerimage.config.digest"].as_str(),
        Some(id.trim())
    );
    place
        .run(&["inspect", "labelled:1"])
        .expect_success()
        .expect_text("\"a\": \"b\"");
}

#[test]
fn quiet_prints_the_id_and_nothing_else() {
    let place = Place::new("FROM scratch\nLABEL a=b\n");
    let done = place.build(&["-q"]).expect_success();
    assert_eq!(done.stdout.trim().len(), 71, "{done}");
    assert_eq!(done.stderr, "", "{done}");
}

#[test]
fn raw_progress_is_a_json_object_a_line() {
    let place = Place::new("FROM scratch\nLABEL a=b\n");
    let mut command = place.rbuild(&["build", "--progress", "rawjson"]);
    let done =
        rbuild_testkit::run(command.arg(place.context()), crate::place::LIMIT).expect_success();
    assert!(done.stderr.lines().count() > 0, "{done}");
    for line in done.stderr.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(value.is_object(), "{line}");
    }
}

#[test]
fn images_can_be_tagged_listed_saved_and_removed() {
    let place = Place::new("FROM scratch\nCOPY Dockerfile /\n");
    place.build(&["-t", "one:1"]).expect_success();
    place.run(&["tag", "one:1", "two:2"]).expect_success();
    let list = place.run(&["images", "--format", "json"]).expect_success();
    assert!(
        list.stdout.contains("one") && list.stdout.contains("two"),
        "{list}"
    );
    place
        .run(&["save", "-o", "one.tar", "one:1"])
        .expect_success();
    place.run(&["rmi", "one:1"]).expect_success();
    place.run(&["inspect", "one:1"]).expect_code(1);
    place.run(&["import", "back", "one.tar"]).expect_success();
    place
        .run(&["history", "back"])
        .expect_success()
        .expect_text("COPY");
    place.assert_intact();
}
