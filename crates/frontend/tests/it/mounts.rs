//! RUN --mount.

use rbuild_graph::{ExecMount, ExecMountKind, Sharing};

use crate::world::{check_errors, last, last_exec, plan_of, request, with_args};

fn mount(options: &str) -> ExecMount {
    let text = format!("FROM a AS s\nRUN y\nFROM a\nWORKDIR /w\nRUN --mount={options} x\n");
    last_exec(&plan_of(&text, &request())).mounts[0].clone()
}

#[test]
fn a_bind_shows_the_context_or_a_source() {
    let plain = mount("target=t");
    assert_eq!((plain.target.as_str(), plain.read_only), ("/w/t", true));
    assert_eq!(
        plain.kind,
        ExecMountKind::Bind {
            input: 1,
            source: "/".into()
        }
    );
    let text = "FROM a AS s\nRUN y\nFROM b\nRUN --mount=from=S,source=d/../e,target=/t,rw x\n";
    let plan = plan_of(text, &request());
    let mount = &last_exec(&plan).mounts[0];
    assert!(!mount.read_only);
    assert_eq!(
        mount.kind,
        ExecMountKind::Bind {
            input: 1,
            source: "/e".into()
        }
    );
    let input = plan.graph.inputs(last(&plan))[1];
    assert_eq!(plan.names[&input], "[s 2/2] RUN y");
}

#[test]
fn a_number_is_no_stage_for_a_mount() {
    let text = "FROM a\nRUN y\nFROM b\nRUN --mount=from=0,target=/t x\n";
    let plan = plan_of(text, &request());
    let input = plan.graph.inputs(last(&plan))[1];
    let name = &plan.names[&input];
    assert!(
        name.starts_with("FROM docker.io/library/0:latest@"),
        "{name}"
    );
}

#[test]
fn a_stage_that_is_root_and_mount_is_one_input() {
    let text = "FROM a AS s\nRUN y\nFROM s\nRUN --mount=from=s,target=/t x\n";
    let plan = plan_of(text, &request());
    assert_eq!(plan.graph.inputs(last(&plan)).len(), 1);
}

#[test]
fn a_cache_is_named_by_its_target() {
    let ExecMountKind::Cache {
        id,
        explicit_id,
        input,
        sharing,
        ..
    } = mount("type=cache,target=./c/").kind
    else {
        panic!("no cache");
    };
    assert_eq!((id.as_str(), explicit_id, input), ("c", false, None));
    assert_eq!(sharing, Sharing::Shared);
    let ExecMountKind::Cache {
        id,
        explicit_id,
        input,
        sharing,
        mode,
        uid,
        source,
        ..
    } = mount("type=cache,target=/c,id=n,from=s,source=/d,sharing=locked,mode=0700,uid=5").kind
    else {
        panic!("no cache");
    };
    assert_eq!((id.as_str(), explicit_id, input), ("n", true, Some(1)));
    assert_eq!(
        (sharing, mode, uid, source.as_str()),
        (Sharing::Locked, Some(0o700), Some(5), "/d")
    );
}

#[test]
fn caches_can_be_put_apart_by_a_build_argument() {
    let args = with_args(&[("BUILDKIT_CACHE_MOUNT_NS", "ns")]);
    let plan = plan_of("FROM a\nRUN --mount=type=cache,target=/c x\n", &args);
    match &last_exec(&plan).mounts[0].kind {
        ExecMountKind::Cache { id, .. } => assert_eq!(id, "ns//c"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn secrets_are_files_or_variables() {
    let secret = |options: &str| {
        let mount = mount(options);
        assert!(mount.read_only);
        match mount.kind {
            ExecMountKind::Secret {
                id,
                target,
                env,
                mode,
                ..
            } => (id, target, env, mode),
            other => panic!("{other:?}"),
        }
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        secret("type=secret,id=a/b"),
        ("a/b".into(), some("/run/secrets/b"), None, 0o400)
    );
    assert_eq!(
        secret("type=secret,target=/x/key,mode=0440"),
        ("key".into(), some("/x/key"), None, 0o440)
    );
    assert_eq!(
        secret("type=secret,id=a,env=A"),
        ("a".into(), None, some("A"), 0o400)
    );
    assert_eq!(
        secret("type=secret,id=a,env=A,target=t"),
        ("a".into(), some("/w/t"), some("A"), 0o400)
    );
}

#[test]
fn a_secret_variable_is_hidden_in_the_name_of_the_step() {
    let text = "FROM a\nENV A=old B=1\nRUN --mount=type=secret,id=a,env=A echo $A $B\n";
    let plan = plan_of(text, &request());
    assert!(
        plan.names[&last(&plan)].ends_with("echo **** 1"),
        "{:?}",
        plan.names
    );
}

#[test]
fn an_agent_has_a_default_id() {
    match mount("type=ssh,required").kind {
        ExecMountKind::Ssh {
            id,
            target,
            required,
            mode,
            ..
        } => {
            assert_eq!(
                (id.as_str(), target, required, mode),
                ("default", None, true, 0o600)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_are_expanded() {
    let text = "FROM a\nENV T=/t S=5m\nRUN --mount=type=tmpfs,target=$T,size=$S x\n";
    let plan = plan_of(text, &request());
    let mount = &last_exec(&plan).mounts[0];
    assert_eq!(mount.target, "/t");
    assert_eq!(
        mount.kind,
        ExecMountKind::Tmpfs {
            size: Some(5 << 20)
        }
    );
}

#[test]
fn mounts_that_cannot_be_made() {
    let check = |options: &str, wanted: &str| {
        check_errors(&format!("FROM a\nRUN --mount={options} x\n"), &[wanted]);
    };
    check("target=/", "invalid mount target \"/\"");
    check("type=cache,target=/a/..", "invalid mount target \"/\"");
    check("type=ssh,source=/x", "ssh does not support source");
    check("type=foo,target=/x", "unsupported mount type \"foo\"");
    // Only a stage that is wanted must have mounts that can be made.
    let text = "FROM a AS unused\nRUN --mount=type=foo x\nFROM a\n";
    plan_of(text, &request());
}
