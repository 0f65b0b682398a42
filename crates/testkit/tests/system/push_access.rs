//! Pushing where TLS and tokens stand in the way, and pushing what was built elsewhere.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rbuild_testkit::{Registry, Tree, hex, need_tool, run, run_with_input};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::place::{LIMIT, Place};
use crate::registry_tls::{Secure, registry_with_tokens};

fn small() -> Place {
    Place::with(
        "FROM scratch\nCOPY first /first\n",
        Tree::new().file("first", "1"),
    )
}

#[test]
fn a_registry_without_a_known_authority_takes_a_push_if_it_is_called_insecure() {
    let secure = Secure::new(false);
    let place = small();
    let name = format!("{}/team/app:1", secure.registry.host());
    place
        .build(&["-t", &name, "-o", "type=registry"])
        .expect_code(1)
        .expect_text("failed to push");
    place
        .build(&["-t", &name, "-o", "type=registry,registry.insecure=true"])
        .expect_success();
    // What is resumed goes the way that it began.
    place.run(&["push", "--resume"]).expect_success();
}

#[test]
fn an_authority_of_ones_own_is_believed_for_a_push() {
    let secure = Secure::new(false);
    let place = small();
    let host = secure.registry.host();
    let folder = place
        .dir()
        .join(format!("machine/etc/docker/certs.d/{host}"));
    fs::create_dir_all(&folder).expect("make the folder");
    fs::copy(secure.authority.certificate(), folder.join("ca.crt")).expect("copy the certificate");
    let mut build = place.build_command(&["-t", &format!("{host}/team/app:1"), "--push"]);
    build.env("RBUILD_HOSTS_ROOT", place.dir().join("machine"));
    run(&mut build, LIMIT).expect_success();
}

#[test]
fn tokens_allow_what_a_push_does_and_mounts_between_repositories() {
    let (registry, service, place, given) = registry_with_tokens(Duration::from_secs(300));
    let docker = place.dir().join("docker");
    let host = registry.host();
    let mut login = place.rbuild(&["login", "-u", "tester", "--password-stdin", &host]);
    run_with_input(login.env("DOCKER_CONFIG", &docker), b"secret", LIMIT).expect_success();
    registry.forget_requests();
    let before = given.load(Ordering::SeqCst);
    let name = format!("{host}/team/app:1");
    let mut build = place.build_command(&["-t", &name, "--push"]);
    run(build.env("DOCKER_CONFIG", &docker), LIMIT).expect_success();
    let mounted = registry.requests().into_iter().filter(|request| {
        request.starts_with("POST /v2/team/app/blobs/uploads/?mount=") && request.ends_with(" 201")
    });
    assert_eq!(mounted.count(), 1, "{:?}", registry.requests());
    // To read the base, to push, and to take over from the base's repository; blobs that go at the same
    // time may each ask for their own.
    let tokens = given.load(Ordering::SeqCst) - before;
    assert!((3..=6).contains(&tokens), "{tokens}");
    let scopes: Vec<String> = service
        .asked()
        .iter()
        .map(|asked| asked.target.clone())
        .collect();
    let mount =
        "scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fbusybox%3Apull";
    assert!(
        scopes.iter().any(|target| target.contains(mount)),
        "{scopes:?}"
    );
    place.assert_intact();
}

/// Puts a blob into a layout; returns its descriptor.
fn put(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let hex = hex(&Sha256::digest(bytes));
    fs::write(layout.join("blobs/sha256").join(&hex), bytes).expect("write a blob");
    json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
}

#[test]
fn an_index_with_attestations_is_pushed_whole() {
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let (registry, place) = (Registry::start(), small());
    place
        .build(&["-o", "type=oci,tar=false,dest=layout,name=x:1"])
        .expect_success();
    let layout = place.dir().join("layout");
    let read = || fs::read(layout.join("index.json")).expect("read the index");
    let mut top: Value = serde_json::from_slice(&read()).expect("an index");
    let image = top["manifests"][0].clone();
    let statement = put(
        &layout,
        "application/vnd.in-toto+json",
        b"{\"_type\":\"statement\"}",
    );
    let config = put(&layout, "application/vnd.oci.image.config.v1+json", b"{}");
    let attestation = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [statement],
    });
    let mut attestation = put(&layout, MANIFEST, attestation.to_string().as_bytes());
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    attestation["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let plain = json!({
        "mediaType": image["mediaType"], "digest": image["digest"], "size": image["size"],
        "platform": { "os": "linux", "architecture": "amd64" },
    });
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [plain, attestation],
    });
    let mut index = put(&layout, INDEX, index.to_string().as_bytes());
    let name = format!("{}/team/app:1", registry.host());
    index["annotations"] = json!({ "io.containerd.image.name": name });
    top["manifests"] = json!([index]);
    fs::write(layout.join("index.json"), top.to_string()).expect("write the index");

    let address = format!("oci:{}", layout.display());
    place.run(&["load", "-i", &address]).expect_success();
    let pushed = place.run(&["push", &name]).expect_success();
    let digest = index["digest"].as_str().expect("a digest");
    assert_eq!(pushed.stdout, format!("{name}@{digest}\n"));
    // With all that the index names.
    let mut copy = Command::new(need_tool("skopeo"));
    copy.args([
        "--insecure-policy",
        "copy",
        "--all",
        "--src-tls-verify=false",
    ]);
    copy.arg(format!("docker://{name}"))
        .arg(format!("dir:{}", place.dir().join("copy").display()));
    run(&mut copy, LIMIT).expect_success();
}
