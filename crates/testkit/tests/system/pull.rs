//! Base images from a registry, and what can go wrong with them.

use std::fs;
use std::path::{Path, PathBuf};

use rbuild_testkit::{Privilege, Registry, granted};

use crate::place::{Place, busybox, shell_in};

/// A registry with busybox, and a Dockerfile that stands on it.
fn registry() -> (Registry, String) {
    let registry = Registry::start();
    registry.push_layout(busybox(), "team/busybox:1");
    let name = format!("{}/team/busybox:1", registry.host());
    (registry, name)
}

#[test]
fn a_base_is_pulled_once_and_kept() {
    if !granted(Privilege::Root) {
        return;
    }
    let (registry, name) = registry();
    let place = Place::new(&format!("FROM {name}\nRUN echo from-registry > /mark\n"));
    place.build(&["-t", "pulled"]).expect_success();
    assert_eq!(shell_in(&place, "pulled", "cat /mark"), "from-registry\n");
    place.write(
        "Dockerfile",
        &format!("FROM {name}\nRUN echo again > /mark\n"),
    );
    place.build(&["-t", "pulled"]).expect_success();
    assert_eq!(shell_in(&place, "pulled", "cat /mark"), "again\n");
    drop(registry);
    place.assert_intact();
}

#[test]
fn a_base_may_be_named_by_digest() {
    let registry = Registry::start();
    let digest = registry.push_layout(busybox(), "team/busybox:1");
    let digest = digest.trim();
    let place = Place::new(&format!(
        "FROM {}/team/busybox@{digest}\nLABEL a=b\n",
        registry.host()
    ));
    place.build(&[]).expect_success();
    let wrong = digest.replace(|c: char| c.is_ascii_digit(), "0");
    place.write(
        "Dockerfile",
        &format!("FROM {}/team/busybox@{wrong}\n", registry.host()),
    );
    place.build(&[]).expect_code(1).expect_text("Dockerfile:1");
    place.assert_intact();
}

#[test]
fn a_name_that_the_registry_does_not_have() {
    let (registry, _) = registry();
    let place = Place::new(&format!("FROM {}/team/nothing:1\n", registry.host()));
    place
        .build(&[])
        .expect_code(1)
        .expect_text("Dockerfile:1")
        .expect_text("not found");
    place.assert_intact();
}

#[test]
fn a_tampered_layer_is_refused() {
    if !granted(Privilege::Root) {
        return;
    }
    damaged(|blob| {
        let mut bytes = fs::read(blob).expect("read the blob");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(blob, bytes).expect("write the blob");
    });
}

#[test]
fn a_truncated_layer_is_refused() {
    if !granted(Privilege::Root) {
        return;
    }
    damaged(|blob| {
        let bytes = fs::read(blob).expect("read the blob");
        fs::write(blob, &bytes[..bytes.len() / 2]).expect("write the blob");
    });
}

/// Damages the largest blob in the registry; the build must notice, and nothing of it may stay.
#[track_caller]
fn damaged(damage: impl Fn(&Path)) {
    let (registry, name) = registry();
    damage(&largest(&registry.data()));
    let place = Place::new(&format!("FROM {name}\nRUN true\n"));
    place
        .build(&["-t", "damaged"])
        .expect_code(1)
        .expect_text("sha256:");
    place.run(&["inspect", "damaged"]).expect_code(1);
    place.assert_intact();
}

fn largest(dir: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .expect("list the registry's files")
            .flatten()
        {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => found.push((meta.len(), entry.path())),
                Err(_) => {}
            }
        }
    }
    found.into_iter().max().expect("the registry holds blobs").1
}
