//! RUN, COPY, ADD and WORKDIR as ops.

use rbuild_frontend::{Entitlements, LowerRequest, NoCache, Plan};
use rbuild_graph::{
    Chmod, CopyAction, ExecMountKind, FileAction, NetworkMode, Op, Owner, OwnerId, SecurityMode,
    WriteAction,
};

use crate::world::{
    check, check_errors, check_errors_with, check_warnings, check_with, last, last_exec, last_file,
    plan_of, request, with_args,
};

fn copy(text: &str) -> CopyAction {
    let plan = plan_of(text, &request());
    match &last_file(&plan).actions[0] {
        FileAction::Copy(copy) => copy.clone(),
        other => panic!("no copy: {other:?}"),
    }
}

fn writes(plan: &Plan) -> Vec<WriteAction> {
    let actions = last_file(plan).actions.iter();
    let writes = actions.filter_map(|action| match action {
        FileAction::Write(write) => Some(write.clone()),
        _ => None,
    });
    writes.collect()
}

#[test]
fn destinations_join_the_working_directory() {
    let check = |dest: &str, wanted: &str, is_dir: bool| {
        let copy = copy(&format!("FROM a\nWORKDIR /w\nCOPY f {dest}\n"));
        assert_eq!(
            (copy.dest.as_str(), copy.dest_is_dir),
            (wanted, is_dir),
            "{dest}"
        );
    };
    check("x", "/w/x", false);
    check("x/", "/w/x", true);
    check("./x/.", "/w/x", true);
    check(".", "/w", true);
    check("\"\"", "/w", true);
    check("/x", "/x", false);
    check("../../x", "/x", false);
    check("/", "/", true);
}

#[test]
fn sources_are_cleaned_and_keep_wildcards() {
    let sources = |line: &str| copy(&format!("FROM a\nENV D=d\n{line}\n")).sources;
    assert_eq!(
        sources("COPY f ./g/ ../../h $D/*.[ch] /x/"),
        ["/f", "/g", "/h", "/d/*.[ch]"]
    );
    assert_eq!(sources("COPY . /x/"), ["/"]);
    assert_eq!(
        sources("COPY --parents a/./b/../c/*.h d /x"),
        ["/a/./c/*.h", "/d"]
    );
    assert_eq!(sources("COPY --parents ./a/b /x"), ["/a/b"]);
}

#[test]
fn flags_of_copy() {
    let flags =
        copy("FROM a\nENV U=web\nCOPY --chown=$U:7 --chmod=0640 --exclude=*.$U --parents f /x\n");
    let owner = Owner {
        user: OwnerId::Name("web".into()),
        group: Some(OwnerId::Id(7)),
    };
    assert_eq!(flags.owner, Some(owner));
    assert_eq!(flags.chmod, Some(Chmod::Octal(0o640)));
    assert_eq!(flags.excludes, ["*.$U"]);
    assert!(flags.parents && flags.dest_is_dir && flags.local && !flags.unpack);
    check(
        "FROM a\nENV M=u+x\nCOPY --from=b --link --parents --chown=1 --chmod=$M --exclude=x f g/\n",
        "FROM a; ENV M=u+x; COPY --parents --chown=1 --chmod=u+x f g/",
    );
    check_errors(
        "FROM a\nCOPY --chmod=99999 f /\n",
        &["invalid chmod parameter: '99999'. it should be octal string and between 0 and 07777"],
    );
}

#[test]
fn link_counts_unless_a_mode_is_given() {
    let link = |line: &str| last_file(&plan_of(line, &request())).link;
    assert!(link("FROM a\nCOPY --link f /\n"));
    assert!(!link("FROM a\nCOPY --link --chmod=644 f /\n"));
    assert!(!link("FROM scratch\nCOPY --link f /\n"));
}

#[test]
fn files_come_from_stages_by_number_and_name() {
    let text = |from: &str| format!("FROM a AS One\nRUN x\nFROM a\nCOPY --from={from} f /\n");
    let source = |from: &str| {
        let plan = plan_of(&text(from), &request());
        let input = plan.graph.inputs(last(&plan))[1];
        plan.names[&input].clone()
    };
    assert_eq!(source("0"), "[one 2/2] RUN x");
    assert_eq!(source("oNE"), "[one 2/2] RUN x");
    assert!(source("b:7").starts_with("FROM docker.io/library/b:7@sha256:"));
    assert!(!copy(&text("0")).local);
}

#[test]
fn sources_that_cannot_be_copied() {
    check_errors(
        "FROM a\nCOPY https://x/y /\n",
        &["source can't be a URL for COPY"],
    );
    check_errors(
        "FROM a\nCOPY git@x:y /\n",
        &["source can't be a git ref for COPY"],
    );
    check_errors(
        "FROM a\nADD --checksum=md5:0 https://x/y /\nADD https://x/y.git?z=1 /\n",
        &["unsupported digest algorithm", "unexpected query \"z\""],
    );
    check_errors(
        "FROM a\nADD --checksum=sha256:00 f g /\nADD --checksum=sha256:00 f /\n",
        &[
            "checksum can't be specified for multiple sources",
            "checksum requires HTTP(S) or Git sources",
        ],
    );
    check_errors(
        "FROM a\nCOPY --from=$X f /\n",
        &[
            "variable expansion is not supported for --from, define a new stage with FROM using \
           ARG from global scope as a workaround",
        ],
    );
}

#[test]
fn sources_in_the_network_are_vertices_of_their_own() {
    let plan = plan_of(
        "FROM a\nADD f https://u:p@x/y?z g https://x/r.git#v1:d /to/\n",
        &request(),
    );
    let top = plan.graph.vertex(last(&plan));
    let Op::File(op) = &top.op else {
        panic!("an ADD is a file op")
    };
    let sources: Vec<_> = op
        .actions
        .iter()
        .map(|action| match action {
            FileAction::Copy(copy) => {
                let input = plan.graph.inputs(last(&plan))[copy.input];
                (
                    plan.names[&input].as_str(),
                    copy.sources.join(" "),
                    copy.unpack,
                )
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let context = "[internal] load build context";
    assert_eq!(
        sources,
        [
            (context, "/f".to_owned(), true),
            ("https://x/y?z", "/y".to_owned(), false),
            (context, "/g".to_owned(), true),
            ("https://x/r.git", "/".to_owned(), false),
        ]
    );
}

#[test]
fn add_unpacks_unless_told_not_to() {
    assert!(copy("FROM a\nADD f /\n").unpack);
    assert!(!copy("FROM a\nADD --unpack=false f /\n").unpack);
    check("FROM a\nADD f /x\n", "FROM a; ADD f /x");
}

#[test]
fn here_documents_are_written_after_files_are_copied() {
    let plan = plan_of(
        "FROM a\nENV V=1\nCOPY <<ONE f <<-'TWO' /d/\nv=$V \\$V \"q\" $U\nONE\n\t$V\nTWO\n",
        &request(),
    );
    assert!(matches!(last_file(&plan).actions[0], FileAction::Copy(_)));
    let writes = writes(&plan);
    let shown: Vec<(&str, &str)> = writes
        .iter()
        .map(|write| {
            (
                write.path.as_str(),
                std::str::from_utf8(&write.data).expect("text"),
            )
        })
        .collect();
    assert_eq!(shown, [("ONE", "v=1 $V \"q\" \n"), ("TWO", "$V\n")]);
    assert!(
        writes
            .iter()
            .all(|write| write.mode == 0o644 && write.dest_is_dir)
    );
    assert_eq!(
        crate::world::summary(&plan),
        "FROM a; ENV V=1; COPY f <<ONE <<TWO /d/"
    );
}

#[test]
fn the_escape_directive_is_not_for_here_documents() {
    let plan = plan_of(
        "# escape=`\nFROM a\nENV V=1\nCOPY <<E /f\n\\$V `$V \\\\ ` c\nE\n",
        &request(),
    );
    let writes = writes(&plan);
    let text = std::str::from_utf8(&writes[0].data).expect("text");
    assert_eq!(text, "$V `1 \\ ` c\n");
}

#[test]
fn run_forms() {
    let args = |text: &str| last_exec(&plan_of(text, &request())).args.clone();
    assert_eq!(
        args("FROM a\nRUN echo  $X\n"),
        ["/bin/sh", "-c", "echo  $X"]
    );
    assert_eq!(args("FROM a\nRUN [\"echo\", \"$X\"]\n"), ["echo", "$X"]);
    assert_eq!(args("FROM a\nRUN\n"), ["/bin/sh", "-c", ""]);
    assert_eq!(args("FROM a\nSHELL [\"bash\"]\nRUN x\n"), ["bash", "x"]);
    assert_eq!(
        args("FROM a\nRUN <<-EOF\n\ta\n\tb\nEOF\n"),
        ["/bin/sh", "-c", "a\nb\n"]
    );
    assert_eq!(
        args("FROM a\nRUN cat <<A <<B\na\nA\nb\nB\n"),
        ["/bin/sh", "-c", "cat <<A <<B\na\nA\nb\nB"]
    );
}

#[test]
fn a_body_with_an_interpreter_is_mounted_and_run() {
    let plan = plan_of("FROM a\nRUN <<EOF\n#!/bin/env x\ny\nEOF\n", &request());
    let exec = last_exec(&plan);
    assert_eq!(exec.args, ["/bin/sh", "-c", "/dev/pipes/EOF"]);
    let mount = &exec.mounts[0];
    assert_eq!(
        (mount.target.as_str(), mount.read_only),
        ("/dev/pipes/EOF", true)
    );
    let kind = ExecMountKind::File {
        bytes: b"#!/bin/env x\ny\n".to_vec(),
        mode: 0o755,
    };
    assert_eq!(mount.kind, kind);
    assert_eq!(
        plan.names[&last(&plan)],
        "[2/2] RUN <<EOF (#!/bin/env x...)"
    );
}

#[test]
fn a_step_has_the_settings_of_its_stage_and_request() {
    let asked = LowerRequest {
        extra_hosts: vec![("db".into(), "10.0.0.1".into())],
        hostname: "h".into(),
        shm_size: 5,
        ..request()
    };
    let plan = plan_of("FROM a\nUSER u:g\nWORKDIR /w/\nRUN \"x\"\n", &asked);
    let exec = last_exec(&plan);
    assert_eq!((exec.user.as_str(), exec.cwd.as_str()), ("u:g", "/w"));
    assert_eq!((exec.hostname.as_str(), exec.shm_size), ("h", 5));
    assert_eq!(exec.extra_hosts.len(), 1);
    assert_eq!(plan.exec_args[&last(&plan)], r#""/bin/sh -c \"x\"""#);
    let named = plan_of(
        "FROM a\nRUN x\n",
        &with_args(&[("BUILDKIT_SANDBOX_HOSTNAME", "b")]),
    );
    assert_eq!(last_exec(&named).hostname, "b");
}

#[test]
fn rights_come_from_the_request_alone() {
    let host = "FROM a\nRUN --network=host x\n";
    let insecure = "FROM a\nRUN --security=insecure x\n";
    check_errors(host, &["failed to load LLB: network.host is not allowed"]);
    check_errors(
        insecure,
        &["failed to load LLB: security.insecure is not allowed"],
    );
    let entitlements = Entitlements {
        network_host: true,
        security_insecure: true,
    };
    let asked = LowerRequest {
        entitlements,
        ..request()
    };
    assert_eq!(last_exec(&plan_of(host, &asked)).network, NetworkMode::Host);
    assert_eq!(
        last_exec(&plan_of(insecure, &asked)).security,
        SecurityMode::Insecure
    );
    let none = LowerRequest {
        network: NetworkMode::None,
        ..request()
    };
    let plan = plan_of("FROM a\nRUN x\n", &none);
    assert_eq!(last_exec(&plan).network, NetworkMode::None);
}

#[test]
fn devices_are_left_out_or_missed() {
    let labs = "# syntax=docker/dockerfile:1-labs\n";
    let plain = "FROM a\nRUN --device=v.com/gpu=all x\n";
    let required = "FROM a\nRUN --device=v.com/a --device=name=v.com/b,required x\n";
    let unknown = "device feature is only supported in Dockerfile frontend 1.14.0-labs or later";
    let missing = "failed to load LLB: required device \"v.com/b\" is not registered";
    check_errors(plain, &[unknown]);
    check_errors(
        &format!("# syntax=docker/dockerfile:1\n{plain}"),
        &[unknown],
    );
    check_errors(&format!("{labs}{required}"), &[missing]);
    let argument = with_args(&[("BUILDKIT_SYNTAX", "docker/dockerfile:1.14-labs")]);
    check_errors_with(&argument, required, &[missing]);
    let stable = with_args(&[("BUILDKIT_SYNTAX", "docker/dockerfile:1")]);
    check_errors_with(&stable, &format!("{labs}{plain}"), &[unknown]);
    let optional = format!("{labs}{plain}");
    check(&optional, "FROM a; RUN /bin/sh -c x");
    check_warnings(
        &optional,
        &[
            "DeviceLeftOut: Optional device \"v.com/gpu=all\" is not registered, the step runs without it",
        ],
    );
    // Only what is built counts.
    check(
        "FROM a AS b\nRUN --device=v.com/a,required x\nFROM a\nRUN y\n",
        "FROM a; RUN /bin/sh -c y",
    );
}

#[test]
fn a_directory_is_made_for_the_user() {
    let asked = LowerRequest {
        source_epoch: Some(3),
        ..request()
    };
    let plan = plan_of("FROM a\nUSER web:7\nWORKDIR /a/b\n", &asked);
    let FileAction::Mkdir(mkdir) = &last_file(&plan).actions[0] else {
        panic!("no mkdir");
    };
    assert_eq!(
        (mkdir.path.as_str(), mkdir.mode, mkdir.epoch),
        ("/a/b", 0o755, Some(3))
    );
    let owner = Owner {
        user: OwnerId::Name("web".into()),
        group: Some(OwnerId::Id(7)),
    };
    assert_eq!(mkdir.owner, Some(owner));
}

#[test]
fn no_cache_means_run_and_copy_of_the_named_stages() {
    let text = "FROM a AS one\nRUN x\nFROM one\nWORKDIR /w\nRUN y\nCOPY f /\n";
    let skipped = |no_cache: NoCache| {
        let plan = plan_of(
            text,
            &LowerRequest {
                no_cache,
                ..request()
            },
        );
        let names = plan.no_cache.iter().map(|ix| plan.names[ix].clone());
        names.collect::<Vec<_>>()
    };
    assert!(skipped(NoCache::Nothing).is_empty());
    assert_eq!(
        skipped(NoCache::Stages(vec!["ONE".into()])),
        ["[one 2/2] RUN x"]
    );
    assert_eq!(
        skipped(NoCache::All),
        [
            "[one 2/2] RUN x",
            "[stage-1 2/3] RUN y",
            "[stage-1 3/3] COPY f /"
        ]
    );
}

#[test]
fn names_of_steps() {
    let names = |text: &str| {
        plan_of(text, &request())
            .names
            .into_values()
            .collect::<Vec<_>>()
    };
    let ten = names(&format!(
        "FROM scratch\nENV V=1\n{}",
        "run  x $V $U \"q\"\n".repeat(10)
    ));
    assert_eq!(ten[0], "[ 1/10] RUN  x 1 $U \"q\"");
    assert_eq!(ten[9], "[10/10] RUN  x 1 $U \"q\"");
    let copied = names("FROM scratch AS s\nENV V=1\ncopy \"$V\" $U /\n");
    assert_eq!(copied, ["[internal] load build context", "[1/1] COPY 1  /"]);
    let mounted = names("FROM scratch\nRUN --mount=type=tmpfs,target=/t x\n");
    assert_eq!(
        mounted,
        ["[stage-0 1/1] RUN --mount=type=tmpfs,target=/t x"]
    );
}

#[test]
fn vertices_know_their_places_and_stages() {
    let text = "FROM a AS one\nRUN x\nFROM a AS two\nRUN x\nCOPY --from=one f /\n";
    let plan = plan_of(text, &request());
    let shared = plan.graph.inputs(last(&plan))[0];
    let origins: Vec<&str> = plan.origins[&shared]
        .iter()
        .map(|span| span.of(text))
        .collect();
    assert_eq!(origins, ["RUN x", "RUN x"]);
    let stages: Vec<&str> = plan.stages[&shared].iter().map(String::as_str).collect();
    assert_eq!(stages, ["one", "two"]);
    assert!(matches!(plan.graph.vertex(shared).op, Op::Exec(_)));
}

#[test]
fn errors_are_collected_across_instructions_and_stages() {
    check_errors(
        "FROM a AS one\nSTOPSIGNAL NO\nEXPOSE x\nFROM one\nVOLUME $X\n",
        &[
            "invalid signal: NO",
            "invalid containerPort: x",
            "VOLUME specified can not be an empty string",
        ],
    );
    check_with(&request(), "FROM a\n", "FROM a");
}
