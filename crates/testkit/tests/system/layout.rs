//! Bases in an OCI layout: read when something needs their files, once, and not before.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_testkit::{Finished, Privilege, granted, run};

use crate::place::{LIMIT, Place, busybox, cached_steps};

/// A copy of busybox's layout that a test may damage.
fn copied(place: &Place) -> PathBuf {
    let (from, to) = (busybox(), place.dir().join("layout"));
    fs::create_dir_all(to.join("blobs/sha256")).expect("make a layout");
    for name in ["oci-layout", "index.json"] {
        fs::copy(from.join(name), to.join(name)).expect("copy a layout");
    }
    for blob in fs::read_dir(from.join("blobs/sha256"))
        .expect("list blobs")
        .flatten()
    {
        let copy = to.join("blobs/sha256").join(blob.file_name());
        fs::copy(blob.path(), copy).expect("copy a blob");
    }
    to
}

/// Removes the layers and leaves manifest and config.
fn remove_layers(layout: &Path) {
    for blob in fs::read_dir(layout.join("blobs/sha256"))
        .expect("list blobs")
        .flatten()
    {
        let bytes = fs::read(blob.path()).expect("read a blob");
        if !bytes.starts_with(b"{") {
            fs::remove_file(blob.path()).expect("remove a layer");
        }
    }
}

fn build(place: &Place, layout: &Path) -> Finished {
    let base = format!("base=oci-layout://{}", layout.display());
    let mut command = place.rbuild(&["build", "--progress", "plain", "-t", "t"]);
    command
        .args(["--build-context", &base])
        .arg(place.context());
    run(&mut command, LIMIT)
}

#[test]
fn layers_nobody_needs_are_not_read() {
    let place = Place::new("FROM base\nENV A=b\nLABEL c=d\n");
    let layout = copied(&place);
    remove_layers(&layout);
    build(&place, &layout).expect_success();
    place.write("Dockerfile", "FROM base\nWORKDIR /x\n");
    build(&place, &layout)
        .expect_code(1)
        .expect_text("Dockerfile:2");
}

#[test]
fn a_cached_build_does_not_read_the_layers_again() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM base\nRUN echo hi > /hi\nCOPY Dockerfile /\n");
    let layout = copied(&place);
    build(&place, &layout).expect_success();
    remove_layers(&layout);
    let again = build(&place, &layout).expect_success();
    assert_eq!(cached_steps(&again).len(), 2, "{again}");
    place.assert_intact();
}
