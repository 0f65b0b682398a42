#![allow(clippy::unwrap_used)]

use std::path::Path;

use rbuild::Dest;

use super::*;

#[test]
fn hosts_take_both_separators_and_brackets() {
    for (text, name, address) in [
        ("a:1.2.3.4", "a", "1.2.3.4"),
        ("a=1.2.3.4", "a", "1.2.3.4"),
        ("a:::1", "a", "::1"),
        ("a=[::1]", "a", "::1"),
    ] {
        let host = host(text).unwrap();
        assert_eq!((host.name.as_str(), host.address.as_str()), (name, address));
    }
    for text in ["a", ":1.2.3.4", "a:b", "a:"] {
        assert!(host(text).is_err(), "{text}");
    }
}

#[test]
fn limits_are_checked() {
    let limit = ulimit("nofile=10:20").unwrap();
    assert_eq!(
        (limit.name.as_str(), limit.soft, limit.hard),
        ("nofile", 10, 20)
    );
    assert_eq!(ulimit("core=-1").unwrap().hard, -1);
    for text in [
        "nofile",
        "what=1",
        "nofile=a",
        "nofile=2:1",
        "nofile=-1:5",
        "nofile=-2",
    ] {
        assert!(ulimit(text).is_err(), "{text}");
    }
}

#[test]
fn named_contexts_have_four_forms() {
    let place = |text: &str| named_context(text).unwrap().place;
    assert!(matches!(place("a=dir"), NamedContextInput::Directory(dir) if dir == Path::new("dir")));
    assert!(
        matches!(place("a=docker-image://x:1"), NamedContextInput::Image(name) if name == "x:1")
    );
    assert!(matches!(
        place("a=oci-layout:///l:tag"),
        NamedContextInput::Layout { dir, tag: Some(tag), digest: None } if dir == Path::new("/l") && tag == "tag"
    ));
    for address in ["https://x/y.git#main:d", "git@x:y", "http://x/y.tar"] {
        let text = format!("a={address}");
        assert!(matches!(place(&text), NamedContextInput::Remote(found) if found == address));
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    assert!(matches!(
        place(&format!("a=oci-layout:///l@{digest}")),
        NamedContextInput::Layout {
            tag: None,
            digest: Some(_),
            ..
        }
    ));
    for text in [
        "a",
        "=x",
        "a=",
        "a=-",
        "a=https://x/y.git?what=1",
        "a=docker-image://UPPER",
    ] {
        assert!(named_context(text).is_err(), "{text}");
    }
}

#[test]
fn other_values() {
    assert_eq!(context("-"), Ok(Context::Stdin));
    for address in [
        "https://x/y.git",
        "https://x/y.tgz",
        "git@x:y",
        "github.com/o/r",
    ] {
        assert_eq!(context(address), Ok(Context::Remote(address.to_owned())));
    }
    assert_eq!(
        context("https://x/y.git?what=1"),
        Err("unexpected query \"what\"".to_owned())
    );
    assert_eq!(
        security("no-new-privileges:true"),
        Ok(SecurityArg::NoNewPrivileges)
    );
    assert!(security("seccomp=unconfined").is_err());
    assert_eq!(network("none"), Ok(NetworkMode::None));
    assert!(network("bridge0").is_err());
    assert_eq!(switch("0"), Ok(false));
    assert!(switch("yes").is_err());
    let agent = |id: &str, paths: &[&str]| SshArg {
        id: id.to_owned(),
        paths: paths.iter().map(PathBuf::from).collect(),
    };
    assert_eq!(ssh("default"), Ok(agent("default", &[])));
    assert_eq!(ssh("a=/run/s"), Ok(agent("a", &["/run/s"])));
    assert_eq!(ssh("a=k1,k2"), Ok(agent("a", &["k1", "k2"])));
    assert!(ssh("=x").is_err());
    let pair: Pair = "A=b=c".parse().unwrap();
    assert_eq!(
        (pair.name.as_str(), pair.value.as_deref()),
        ("A", Some("b=c"))
    );
}

#[test]
fn docker_output_without_a_place_is_the_engine() {
    assert!(matches!(
        output("type=docker").unwrap().export,
        Export::DockerArchive { dest: Dest::Engine }
    ));
    assert!(matches!(
        output("type=docker,dest=x.tar").unwrap().export,
        Export::DockerArchive {
            dest: Dest::File(_)
        }
    ));
    assert!(output("type=what").is_err());
}

#[test]
fn cache_mounts_have_an_id_and_a_directory() {
    let read = cache_mount("/root/.cache=dir=1").unwrap();
    assert_eq!(read.id, "/root/.cache");
    assert_eq!(read.dir, PathBuf::from("dir=1"));
    for bad in ["", "id", "id=", "=dir"] {
        assert!(cache_mount(bad).unwrap_err().contains("ID=DIR"), "{bad}");
    }
}
