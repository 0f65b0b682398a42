//! Tools that others wrote must accept our images.

use std::fs;
use std::process::Command;

use rbuild_testkit::{Listing, Privilege, granted, need_tool, run};

use crate::place::{LIMIT, Place};

fn built() -> Place {
    let place = Place::new(
        "FROM busybox\nRUN echo hi > /hi && rm /etc/group && mkdir -p /d/e && chmod 1777 /d\n\
         RUN rm -r /d && mkdir /d && touch /d/new\n",
    );
    place
        .build(&["-t", "judged", "-o", "type=oci,dest=oci.tar"])
        .expect_success();
    place
        .build(&["-t", "judged", "-o", "type=docker,dest=docker.tar"])
        .expect_success();
    place
}

#[test]
fn skopeo_copies_both_archives() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    for kind in ["oci", "docker"] {
        let mut skopeo = Command::new(need_tool("skopeo"));
        skopeo.current_dir(place.dir());
        skopeo.args(["--insecure-policy", "copy", "--quiet"]);
        skopeo
            .arg(format!("{kind}-archive:{kind}.tar"))
            .arg(format!("dir:{kind}-copy"));
        run(&mut skopeo, LIMIT).expect_success();
        assert!(
            place
                .dir()
                .join(format!("{kind}-copy/manifest.json"))
                .exists()
        );
    }
}

#[test]
fn umoci_unpacks_the_same_files() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = built();
    let layout = place.dir().join("layout");
    fs::create_dir(&layout).expect("make a directory");
    let mut tar = Command::new("tar");
    tar.arg("-xf")
        .arg(place.dir().join("oci.tar"))
        .arg("-C")
        .arg(&layout);
    run(&mut tar, LIMIT).expect_success();
    let mut umoci = Command::new(need_tool("umoci"));
    umoci.current_dir(place.dir()).args(["unpack", "--image"]);
    umoci
        .arg(format!("{}:latest", layout.display()))
        .arg("bundle");
    run(&mut umoci, LIMIT).expect_success();
    let files = Listing::of(place.dir().join("bundle/rootfs"));
    assert!(
        files.get("hi").is_some() && files.get("bin/busybox").is_some(),
        "{files}"
    );
    assert!(
        files.get("d/new").is_some() && files.get("d/e").is_none(),
        "{files}"
    );
    assert!(
        files.get("etc/group").is_none() && files.get("etc/passwd").is_some(),
        "{files}"
    );
    place
        .build(&["-o", "type=local,dest=ours"])
        .expect_success();
    assert_eq!(Listing::of(place.dir().join("ours")).difference(&files), "");
}
