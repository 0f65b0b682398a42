use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn tag(path: &str, tag: &str) -> Place {
    Place {
        path: path.into(),
        pick: Some(Pick::Tag(tag.to_owned())),
    }
}

fn whole(path: &str) -> Place {
    Place {
        path: path.into(),
        pick: None,
    }
}

#[test]
fn transports_are_read_as_skopeo_reads_them() {
    let check = |text: &str, expected: Address| {
        let address = Address::parse(text).unwrap();
        assert_eq!(address, expected, "{text}");
        assert_eq!(
            Address::parse(&address.to_string()).unwrap(),
            address,
            "{text}"
        );
    };
    check("oci:dir", Address::Layout(whole("dir")));
    check("oci:/a/b:1.0", Address::Layout(tag("/a/b", "1.0")));
    check(
        "oci:dir:host:5000/x/y:1",
        Address::Layout(tag("dir", "host:5000/x/y:1")),
    );
    check("oci:a@b", Address::Layout(whole("a@b")));
    check("oci-archive:x.tar", Address::OciArchive(whole("x.tar")));
    check(
        "oci-archive:x.tar:v1",
        Address::OciArchive(tag("x.tar", "v1")),
    );
    check(
        "docker-archive:x.tar",
        Address::DockerArchive(whole("x.tar")),
    );
    check(
        "docker-archive:x.tar:app:1",
        Address::DockerArchive(tag("x.tar", "app:1")),
    );
    check(
        "docker://alpine",
        Address::Registry(Reference::parse("alpine").unwrap()),
    );
    let digest = Pick::Digest(Digest::parse(DIGEST).unwrap());
    for transport in ["oci:dir", "oci-layout://dir"] {
        let place = Place {
            path: "dir".into(),
            pick: Some(digest.clone()),
        };
        check(&format!("{transport}@{DIGEST}"), Address::Layout(place));
    }
    check("oci-layout:///a:b/c", Address::Layout(whole("/a:b/c")));
    check("oci-layout:///a/c:1", Address::Layout(tag("/a/c", "1")));
}

#[test]
fn what_has_no_transport_is_a_name() {
    for text in [
        "alpine",
        "alpine:3.20",
        "docker:dind",
        "docker",
        "oci",
        "host:5000/x",
        "sha256:abcd",
        "0123abcd",
        "docker-image:1",
        "oci-layout:1",
        "dir/x:1",
    ] {
        assert_eq!(
            Address::parse(text).unwrap(),
            Address::Name(text.to_owned())
        );
    }
    let named = Address::parse("docker-image://alpine").unwrap();
    assert_eq!(
        named,
        Address::Name("docker.io/library/alpine:latest".to_owned())
    );
}

#[test]
fn mistakes_are_told_with_their_position() {
    let check = |text: &str, position: usize, part: &str| {
        let error = Address::parse(text).unwrap_err();
        let Error::Address {
            position: found, ..
        } = &error
        else {
            panic!("{text}: {error}");
        };
        assert_eq!(*found, position, "{text}: {error}");
        assert!(error.to_string().contains(part), "{text}: {error}");
    };
    check("", 1, "it is empty");
    check("oci:", 5, "the path is empty");
    check("oci:ä:b c", 8, "is no tag");
    check("oci:d:", 7, "the tag is empty");
    check("oci:d:-x", 7, "neither letter nor digit");
    check("oci:d@sha256:12", 7, "");
    check("oci-archive::x", 13, "the path is empty");
    check("docker-archive:x:UP", 18, "must be lower case");
    check(
        &format!("docker-archive:x:a@{DIGEST}"),
        18,
        "knows no digests",
    );
    check("docker://", 10, "it is empty");
    check("docker://UP", 10, "must be lower case");
    check("docker-daemon:x", 1, "docker save");
    check("containers-storage:x", 1, "podman save");
    check("dir:x", 1, "skopeo copy");
}
