//! What counts in a key and what does not.

use rbuild_oci::Digest;

use super::*;
use crate::{GraphBuilder, LocalOp, Ulimit};

fn exec() -> ExecOp {
    ExecOp {
        args: vec!["/bin/sh".into(), "-c".into(), "make".into()],
        env: vec![("PATH".into(), "/bin".into())],
        proxy_env: Vec::new(),
        cwd: "/".into(),
        user: String::new(),
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        hostname: String::new(),
        base: Some(0),
        mounts: Vec::new(),
        platform: Platform::new("linux", "amd64"),
        extra_hosts: vec![("db".into(), "10.0.0.1".into())],
        shm_size: 0,
        ulimits: Vec::new(),
    }
}

fn copy() -> CopyAction {
    CopyAction {
        input: 0,
        sources: vec!["/src/a.txt".into()],
        dest: "/d".into(),
        dest_is_dir: false,
        owner: None,
        chmod: None,
        excludes: Vec::new(),
        parents: false,
        unpack: false,
        local: true,
    }
}

fn cache() -> ExecMountKind {
    ExecMountKind::Cache {
        id: "/c".into(),
        explicit_id: false,
        input: None,
        source: "/".into(),
        sharing: Sharing::Shared,
        mode: None,
        uid: None,
        gid: None,
    }
}

fn with_mount(kind: ExecMountKind) -> Op {
    let mount = ExecMount {
        target: "/m".into(),
        kind,
        read_only: false,
    };
    Op::Exec(ExecOp {
        mounts: vec![mount],
        ..exec()
    })
}

fn file(action: FileAction) -> Op {
    Op::File(FileOp {
        base: Some(0),
        link: false,
        actions: vec![action],
    })
}

/// Whether the change shows in the op key; in the whole definition it must show in any case.
fn counts(before: &Op, after: &Op) -> bool {
    let id = |op: &Op| vertex_id(op, std::iter::empty());
    assert_ne!(
        id(before),
        id(after),
        "every field is part of the definition"
    );
    op_key(before) != op_key(after)
}

#[test]
fn what_a_step_does_counts() {
    let check = |what: &str, change: fn(&mut ExecOp)| {
        let mut changed = exec();
        change(&mut changed);
        assert!(counts(&Op::Exec(exec()), &Op::Exec(changed)), "{what}");
    };
    check("args", |op| op.args[2] = "make  all".into());
    check("split of args", |op| {
        op.args = vec!["/bin/sh".into(), "-cmake".into()]
    });
    check("env", |op| op.env.push(("A".into(), String::new())));
    check("order of env", |op| {
        op.env.insert(0, ("A".into(), "".into()))
    });
    check("cwd", |op| op.cwd = "/w".into());
    check("user", |op| op.user = "web".into());
    check("network", |op| op.network = NetworkMode::None);
    check("security", |op| op.security = SecurityMode::Insecure);
    check("hostname", |op| op.hostname = "h".into());
    check("base", |op| op.base = None);
    check("platform", |op| {
        op.platform = Platform::new("linux", "arm64")
    });
    check("host name", |op| op.extra_hosts[0].0 = "cache".into());
    check("shm", |op| op.shm_size = 1);
    check("ulimit", |op| {
        op.ulimits.push(Ulimit {
            name: "nofile".into(),
            soft: 1,
            hard: 1,
        });
    });
}

#[test]
fn what_must_not_rebuild_a_step_does_not_count() {
    let check = |what: &str, change: fn(&mut ExecOp)| {
        let mut changed = exec();
        change(&mut changed);
        assert!(!counts(&Op::Exec(exec()), &Op::Exec(changed)), "{what}");
    };
    check("proxy", |op| {
        op.proxy_env.push(("HTTP_PROXY".into(), "p".into()))
    });
    check("address of a host", |op| {
        op.extra_hosts[0].1 = "10.0.0.2".into()
    });
}

#[test]
fn mounts_count_by_their_options() {
    let bind = |input, source: &str| {
        with_mount(ExecMountKind::Bind {
            input,
            source: source.into(),
        })
    };
    assert!(!counts(&bind(1, "/a"), &bind(1, "/b")), "source of a bind");
    assert!(counts(&bind(1, "/a"), &bind(0, "/a")), "input of a bind");

    let tmpfs = |size| with_mount(ExecMountKind::Tmpfs { size });
    assert!(counts(&tmpfs(None), &tmpfs(Some(0))), "size of a tmpfs");

    let secret = |id: &str, required| {
        with_mount(ExecMountKind::Secret {
            id: id.into(),
            target: None,
            env: Some("S".into()),
            required,
            mode: 0o400,
            uid: 0,
            gid: 0,
        })
    };
    assert!(
        counts(&secret("a", false), &secret("b", false)),
        "id of a secret"
    );
    assert!(
        counts(&secret("a", false), &secret("a", true)),
        "need of a secret"
    );

    let script = |bytes: &[u8]| {
        with_mount(ExecMountKind::File {
            bytes: bytes.to_vec(),
            mode: 0o755,
        })
    };
    assert!(counts(&script(b"#!a"), &script(b"#!b")), "body of a script");
}

#[test]
fn a_cache_mount_with_an_id_counts_without_it() {
    let change = |explicit: bool, name: &str, how: Sharing| {
        let mut kind = cache();
        if let ExecMountKind::Cache {
            id,
            explicit_id,
            sharing,
            ..
        } = &mut kind
        {
            *id = name.into();
            *explicit_id = explicit;
            *sharing = how;
        }
        with_mount(kind)
    };
    let plain = change(false, "/c", Sharing::Shared);
    let named = change(true, "x", Sharing::Shared);
    assert!(
        !counts(&named, &change(true, "y", Sharing::Shared)),
        "two ids are one"
    );
    assert!(
        !counts(&named, &change(true, "x", Sharing::Locked)),
        "sharing with an id"
    );
    assert!(
        counts(&plain, &change(true, "/c", Sharing::Shared)),
        "an id or none"
    );
    assert!(
        counts(&plain, &change(false, "/c", Sharing::Locked)),
        "sharing without an id"
    );
}

#[test]
fn the_source_of_a_cache_mount_counts_where_no_input_stands_for_it() {
    let change = |from: Option<usize>, folder: &str| {
        let mut kind = cache();
        if let ExecMountKind::Cache { input, source, .. } = &mut kind {
            *input = from;
            *source = folder.into();
        }
        with_mount(kind)
    };
    assert!(
        counts(&change(None, "/a"), &change(None, "/b")),
        "in the cache"
    );
    assert!(
        !counts(&change(Some(1), "/a"), &change(Some(1), "/b")),
        "in an input"
    );
}

#[test]
fn a_copy_counts_by_the_name_of_its_source() {
    let from = |source: &str| {
        file(FileAction::Copy(CopyAction {
            sources: vec![source.into()],
            ..copy()
        }))
    };
    assert!(!counts(&from("/src/a.txt"), &from("/other/a.txt")), "moved");
    assert!(counts(&from("/src/a.txt"), &from("/src/b.txt")), "renamed");

    let parents = |source: &str| {
        let action = CopyAction {
            parents: true,
            sources: vec![source.into()],
            ..copy()
        };
        file(FileAction::Copy(action))
    };
    assert!(
        counts(&parents("/a/f"), &parents("/b/f")),
        "the path is kept"
    );
    assert!(
        !counts(&parents("/a/./x/f"), &parents("/b/./x/f")),
        "before the pivot"
    );
    assert!(
        counts(&parents("/a/./x/f"), &parents("/a/./y/f")),
        "behind the pivot"
    );
}

#[test]
fn options_of_a_copy_count() {
    let check = |what: &str, change: fn(&mut CopyAction)| {
        let mut changed = copy();
        change(&mut changed);
        let before = file(FileAction::Copy(copy()));
        assert!(counts(&before, &file(FileAction::Copy(changed))), "{what}");
    };
    let root = || OwnerId::Id(0);
    assert_ne!(root(), OwnerId::Name("0".into()));
    check("input", |op| op.input = 1);
    check("dest", |op| op.dest = "/e".into());
    check("directory", |op| op.dest_is_dir = true);
    check("owner", |op| {
        op.owner = Some(Owner {
            user: OwnerId::Id(0),
            group: None,
        })
    });
    check("chmod", |op| op.chmod = Some(Chmod::Octal(0)));
    check("excludes", |op| op.excludes.push("*.o".into()));
    check("parents", |op| op.parents = true);
    check("unpack", |op| op.unpack = true);
    check("local", |op| op.local = false);
}

#[test]
fn a_directory_and_a_here_document_count_whole() {
    let mkdir = |epoch| {
        file(FileAction::Mkdir(MkdirAction {
            path: "/w".into(),
            mode: 0o755,
            owner: None,
            epoch,
        }))
    };
    assert!(counts(&mkdir(None), &mkdir(Some(0))), "epoch");
    let write = |data: &[u8]| {
        file(FileAction::Write(WriteAction {
            path: "EOF".into(),
            dest: "/f".into(),
            dest_is_dir: false,
            data: data.to_vec(),
            mode: 0o644,
            owner: None,
            chmod: None,
        }))
    };
    assert!(counts(&write(b"a"), &write(b"b")), "body");
}

#[test]
fn an_image_is_its_manifest() {
    let image = |reference: &str, origin| {
        Op::Image(ImageOp {
            reference: reference.into(),
            manifest: Digest::sha256_of(b"manifest"),
            platform: Platform::new("linux", "amd64"),
            diff_ids: Vec::new(),
            origin,
        })
    };
    let plain = image("a:1", ImageOrigin::Registry);
    let renamed = image("b:2", ImageOrigin::Registry);
    assert_eq!(op_key(&plain), op_key(&renamed));
    assert_eq!(
        vertex_id(&plain, std::iter::empty()),
        vertex_id(&renamed, std::iter::empty())
    );
    let layout = image("a:1", ImageOrigin::Layout { dir: "/l".into() });
    assert!(!counts(&plain, &layout), "where it can be had");
}

#[test]
fn every_field_of_a_source_in_the_network_tells_vertices_apart() {
    let http = HttpOp {
        url: Some("https://h/f".into()),
        name: "f".into(),
        checksum: None,
    };
    let git = GitOp {
        remote: "https://h/r.git".into(),
        reference: "main".into(),
        commit: None,
        subdir: String::new(),
        checksum: None,
        take: GitTake {
            git_dir: false,
            submodules: true,
        },
        times: GitTimes::Checkout,
    };
    let changed_http = |change: fn(&mut HttpOp)| {
        let mut op = http.clone();
        change(&mut op);
        Op::Http(op)
    };
    let changed_git = |change: fn(&mut GitOp)| {
        let mut op = git.clone();
        change(&mut op);
        Op::Git(op)
    };
    let all = [
        changed_http(|_| {}),
        changed_http(|op| op.url = None),
        changed_http(|op| op.name = "g".into()),
        changed_http(|op| op.checksum = Some(Digest::sha256_of(b"x"))),
        changed_git(|_| {}),
        changed_git(|op| op.remote = "https://h/s.git".into()),
        changed_git(|op| op.reference = "next".into()),
        changed_git(|op| op.commit = Some("a".repeat(40))),
        changed_git(|op| op.subdir = "d".into()),
        changed_git(|op| op.checksum = Some("abcdef0".into())),
        changed_git(|op| op.take.git_dir = true),
        changed_git(|op| op.take.submodules = false),
        changed_git(|op| op.times = GitTimes::Commit),
    ];
    let ids = all.iter().map(|op| vertex_id(op, std::iter::empty()));
    let distinct: std::collections::BTreeSet<_> = ids.collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn inputs_are_part_of_a_vertex() {
    let local = |name: &str| Op::Local(LocalOp { name: name.into() });
    let mut graph = GraphBuilder::new();
    let (a, b) = (graph.add(local("a"), vec![]), graph.add(local("b"), vec![]));
    let run = Op::Exec(exec());
    let on_a = graph.add(run.clone(), vec![a]);
    let on_b = graph.add(run.clone(), vec![b]);
    let both = graph.add(run.clone(), vec![a, b]);
    let swapped = graph.add(run.clone(), vec![b, a]);
    assert_eq!(graph.add(run, vec![a]), on_a, "equal vertices are one");
    let mut ids: Vec<_> = [on_a, on_b, both, swapped]
        .iter()
        .filter_map(|ix| graph.vertex(*ix).map(|vertex| vertex.id.clone()))
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}
