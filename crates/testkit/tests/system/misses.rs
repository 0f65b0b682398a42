//! Why steps are not found in the cache: single changes, and the first reason that is named for each.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rbuild_testkit::{Finished, Privilege, Tree, granted};

use crate::place::{Place, cached_steps};

/// Every kind of step and of input.
const DOCKERFILE: &str = "FROM busybox AS tools\n\
    COPY lib /lib2\n\
    RUN cp /lib2/one /made && echo constant > /constant\n\
    FROM busybox AS files\n\
    COPY src /src\n\
    RUN true\n\
    FROM busybox AS named\n\
    ARG VERSION=1\n\
    ENV MODE=first\n\
    RUN echo version $VERSION > /version\n\
    RUN --mount=type=secret,id=token true\n\
    RUN --mount=type=bind,source=mounted,target=/m cat /m/file > /mounted\n\
    FROM named\n\
    WORKDIR /work\n\
    COPY --from=tools /made /made\n\
    COPY --from=files /etc/passwd /passwd\n\
    COPY <<EOF /text\n\
    here\n\
    EOF\n\
    RUN --network=none echo alike\n\
    RUN --network=none echo alike\n";

fn tree() -> Tree {
    Tree::new()
        .file("lib/one", "1")
        .file("src/a.txt", "a")
        .file("src/run.sh", "b")
        .file("src/sub/c", "c")
        .file("src/ignored.log", "l")
        .file("mounted/file", "m")
        .file(".dockerignore", "**/*.log\n")
        .file("unused", "u")
}

/// A change, the option that goes with it, and the first reason that a build must give; `None` if it must
/// give none.
struct Case {
    what: &'static str,
    change: fn(&Place),
    words: &'static [&'static str],
    step: &'static str,
    reason: Option<&'static str>,
}

fn dockerfile(place: &Place, from: &str, to: &str) {
    assert!(DOCKERFILE.contains(from), "{from}");
    place.write("Dockerfile", &DOCKERFILE.replacen(from, to, 1));
}

fn mode(place: &Place, path: &str, mode: u32) {
    let path = place.context().join(path);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("change the mode");
}

const CASES: &[Case] = &[
    Case {
        what: "content of a file",
        change: |place| place.write("src/a.txt", "A"),
        words: &[],
        step: "COPY src /src",
        reason: Some("1 of 3 files differs: `src/a.txt` content"),
    },
    Case {
        what: "mode of a file",
        change: |place| mode(place, "src/run.sh", 0o755),
        words: &[],
        step: "COPY src /src",
        reason: Some(
            "1 of 3 files differs: `src/run.sh` mode 644→755 (only modes, as after a checkout with \
             another umask)",
        ),
    },
    Case {
        what: "mode of a directory",
        change: |place| mode(place, "src/sub", 0o700),
        words: &[],
        step: "COPY src /src",
        reason: Some("1 of 4 files differs: `src/sub` mode 755→700"),
    },
    Case {
        what: "content and mode of two files",
        change: |place| {
            place.write("src/a.txt", "AA");
            mode(place, "src/run.sh", 0o700);
        },
        words: &[],
        step: "COPY src /src",
        reason: Some("2 of 3 files differ: `src/a.txt` content, `src/run.sh` mode 644→700"),
    },
    Case {
        what: "a new file",
        change: |place| place.write("src/new", "n"),
        words: &[],
        step: "COPY src /src",
        reason: Some("1 of 4 files differs: `src/new` new"),
    },
    Case {
        what: "a file is gone",
        change: |place| fs::remove_file(place.context().join("src/sub/c")).expect("remove"),
        words: &[],
        step: "COPY src /src",
        reason: Some("1 of 3 files differs: `src/sub/c` gone"),
    },
    Case {
        what: "a file became a link",
        change: |place| {
            fs::remove_file(place.context().join("src/a.txt")).expect("remove");
            std::os::unix::fs::symlink("run.sh", place.context().join("src/a.txt")).expect("link");
        },
        words: &[],
        step: "COPY src /src",
        reason: Some("1 of 3 files differs: `src/a.txt` was a file, is a link"),
    },
    Case {
        what: "a name that would steer a terminal",
        change: |place| place.write("src/\x1b[2J\n#9 DONE", "n"),
        words: &[],
        step: "COPY src /src",
        reason: Some("1 of 4 files differs: `src/\\x1b[2J\\n#9 DONE` new"),
    },
    Case {
        what: "many new files",
        change: |place| {
            for n in 0..500 {
                place.write(&format!("src/many/{n:03}"), "n");
            }
        },
        words: &[],
        step: "COPY src /src",
        reason: Some(
            "501 of 504 files differ: `src/many` new, `src/many/000` new, `src/many/001` new, and 498 more",
        ),
    },
    Case {
        what: "what is ignored",
        change: |place| place.write(".dockerignore", "unused\n"),
        words: &[],
        step: "COPY src /src",
        reason: Some("1 of 4 files differs: `src/ignored.log` new"),
    },
    Case {
        what: "build argument",
        change: |_| {},
        words: &["--build-arg", "VERSION=2"],
        step: "RUN echo version 2 > /version",
        reason: Some("build-arg VERSION changed"),
    },
    Case {
        what: "default of an ARG",
        change: |place| dockerfile(place, "VERSION=1", "VERSION=3"),
        words: &[],
        step: "RUN echo version 3 > /version",
        reason: Some("build-arg VERSION changed"),
    },
    Case {
        what: "ENV",
        change: |place| dockerfile(place, "MODE=first", "MODE=second"),
        words: &[],
        step: "RUN echo version 1 > /version",
        reason: Some("ENV MODE changed"),
    },
    Case {
        what: "a new ENV",
        change: |place| dockerfile(place, "ENV MODE=first", "ENV MODE=first OTHER=x"),
        words: &[],
        step: "RUN echo version 1 > /version",
        reason: Some("ENV OTHER is new"),
    },
    Case {
        what: "user",
        change: |place| dockerfile(place, "ENV MODE=first", "ENV MODE=first\nUSER 0"),
        words: &[],
        step: "RUN echo version 1 > /version",
        reason: Some("user changed from nothing to 0"),
    },
    Case {
        what: "id of a secret",
        change: |place| dockerfile(place, "id=token", "id=key"),
        words: &[],
        step: "RUN --mount=type=secret,id=key true",
        reason: Some("secret key is new; secret token is gone"),
    },
    Case {
        what: "files of a bind mount",
        change: |place| place.write("mounted/file", "M"),
        words: &[],
        step: "RUN --mount=type=bind,source=mounted,target=/m cat /m/file > /mounted",
        reason: Some("1 of 1 file differs: `mounted/file` content"),
    },
    Case {
        what: "what another stage made",
        change: |place| place.write("lib/one", "2"),
        words: &[],
        step: "COPY --from=tools /made /made",
        reason: Some("1 of 1 file of [tools 2/3] RUN cp /lib2/one /made"),
    },
    Case {
        what: "owner",
        change: |place| dockerfile(place, "COPY src /src", "COPY --chown=5:6 src /src"),
        words: &[],
        step: "COPY --chown=5:6 src /src",
        reason: Some("--chown changed"),
    },
    Case {
        what: "text of a here-document",
        change: |place| dockerfile(place, "here\n", "there\n"),
        words: &[],
        step: "COPY <<EOF /text",
        reason: Some("here-document EOF changed"),
    },
    Case {
        what: "network",
        change: |place| {
            let twice = "RUN --network=none echo alike\n";
            dockerfile(place, &twice.repeat(2), &format!("{twice}RUN echo alike\n"));
        },
        words: &[],
        step: "RUN echo alike",
        reason: Some("network changed from none to default"),
    },
    Case {
        what: "directory",
        change: |place| dockerfile(place, "WORKDIR /work", "WORKDIR /other"),
        words: &[],
        step: "WORKDIR /other",
        reason: Some("path changed from /work to /other"),
    },
    Case {
        what: "instruction",
        change: |place| dockerfile(place, "echo constant", "echo variable"),
        words: &[],
        step: "RUN cp /lib2/one /made && echo variable > /constant",
        reason: Some(
            "instruction changed, was [tools 2/3] RUN cp /lib2/one /made && echo constant",
        ),
    },
    Case {
        what: "first of two that are alike",
        change: |place| dockerfile(place, "WORKDIR /work", "WORKDIR /work\nRUN echo between"),
        words: &[],
        step: "RUN echo between",
        reason: Some("never built before"),
    },
    Case {
        what: "files that no step reads",
        change: |place| place.write("unused", "U"),
        words: &[],
        step: "",
        reason: None,
    },
    Case {
        what: "a file that is ignored",
        change: |place| place.write("src/ignored.log", "L"),
        words: &[],
        step: "",
        reason: None,
    },
    Case {
        what: "times",
        change: |place| {
            let file = fs::File::open(place.context().join("src/a.txt")).expect("open");
            file.set_modified(std::time::UNIX_EPOCH).expect("touch");
        },
        words: &[],
        step: "",
        reason: None,
    },
    Case {
        what: "a comment",
        change: |place| dockerfile(place, "FROM named\n", "# of no account\nFROM named\n"),
        words: &[],
        step: "",
        reason: None,
    },
    Case {
        what: "a line that moved",
        change: |place| {
            dockerfile(
                place,
                "ARG VERSION=1\nENV MODE=first\n",
                "ENV MODE=first\nLABEL a=b\nARG VERSION=1\n",
            );
        },
        words: &[],
        step: "RUN echo version 1 > /version",
        reason: Some("order of variables changed"),
    },
    Case {
        what: "an option of a RUN that changes nothing for it",
        change: |place| {
            dockerfile(
                place,
                "WORKDIR /work\n",
                "WORKDIR /work\nLABEL x=y\nEXPOSE 1\n",
            )
        },
        words: &[],
        step: "",
        reason: None,
    },
    Case {
        what: "a value of a secret",
        change: |_| {},
        words: &["--secret", "id=token,src=/dev/null"],
        step: "",
        reason: None,
    },
];

/// The steps that were missed, in order, with the reasons.
fn misses(done: &Finished) -> Vec<(String, String)> {
    let text = done.text();
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(' '))
        .collect();
    let reason = |(number, line): &(&str, &str)| {
        let reason = line.strip_prefix("cache miss: ")?;
        let named = lines.iter().find(|(n, _)| n == number);
        Some((named?.1.to_owned(), reason.to_owned()))
    };
    lines.iter().filter_map(reason).collect()
}

#[test]
fn each_change_is_named() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::with(DOCKERFILE, tree());
    let first = misses(&place.build(&[]).expect_success());
    assert_eq!(first.len(), 13, "{first:#?}");
    assert!(
        first.iter().all(|(_, why)| why == "never built before"),
        "{first:#?}"
    );
    for case in CASES {
        (case.change)(&place);
        let done = place.build(case.words).expect_success();
        let missed = misses(&done);
        match (
            case.reason,
            missed.iter().find(|(name, _)| name.ends_with(case.step)),
        ) {
            (None, _) => assert!(missed.is_empty(), "{}: {missed:#?}", case.what),
            (Some(reason), Some((_, why))) => {
                assert!(
                    why.starts_with(reason),
                    "{}: {why}\nnot {reason}",
                    case.what
                );
            }
            (Some(_), None) => panic!("{}: {} was not missed\n{done}", case.what, case.step),
        }
        // What stands on it follows, and says so.
        let place_of = missed
            .iter()
            .position(|(name, _)| name.ends_with(case.step));
        for (name, why) in missed.iter().skip(place_of.unwrap_or_default()) {
            let is_known = name.ends_with(case.step) || why.contains("was made again");
            let same = case.reason.is_some_and(|reason| why.starts_with(reason));
            assert!(is_known || same, "{}: {name}: {why}", case.what);
        }
        fs::remove_dir_all(place.context()).expect("empty the context");
        fs::create_dir(place.context()).expect("make the context");
        tree()
            .file("Dockerfile", DOCKERFILE)
            .write_to(place.context());
        let again = place.build(&[]).expect_success();
        assert!(misses(&again).is_empty(), "{}: {again}", case.what);
        assert_eq!(cached_steps(&again).len(), 13, "{again}");
    }
}

#[test]
fn bases_that_move_are_named() {
    if !granted(Privilege::Root) {
        return;
    }
    let base = Place::with(
        "FROM scratch\nARG TARGETARCH\nCOPY f /f\n",
        Tree::new().file("f", "1"),
    );
    let make_base = || {
        let words = ["-t", "base", "--platform", "linux/amd64,linux/arm64"];
        base.build(&words).expect_success();
    };
    make_base();
    let context = base.context();
    fs::write(context.join("Other"), "FROM base\nCOPY f /g\n").expect("write");
    let other = context.join("Other");
    let build = |words: &[&str]| {
        let other = other.to_string_lossy();
        let words = [&["-f", &other, "--platform", "linux/amd64"], words].concat();
        misses(&base.build(&words).expect_success())
    };
    assert_eq!(build(&[])[0].1, "never built before");
    let arm = build(&["--platform", "linux/arm64"]);
    // One layer for both: nothing that the step reads tells the platforms apart but the base.
    assert!(
        arm[0].1.starts_with(
            "base docker.io/library/base:latest is for linux/arm64, was for linux/amd64"
        ),
        "{arm:#?}"
    );
    fs::write(context.join("f"), "2").expect("write");
    make_base();
    fs::write(context.join("f"), "1").expect("write");
    let moved = build(&[]);
    assert!(
        moved[0]
            .1
            .starts_with("base docker.io/library/base:latest moved from sha256:"),
        "{moved:#?}"
    );
    fs::write(&other, "FROM scratch\nCOPY f /g\n").expect("write");
    let scratch = build(&[]);
    assert!(
        scratch[0]
            .1
            .starts_with("base changed from nothing to none"),
        "{scratch:#?}"
    );
}

#[test]
fn a_miss_fails_the_build_where_that_is_asked_for() {
    if !granted(Privilege::Root) {
        return;
    }
    let text = "FROM busybox\nCOPY f /f\nRUN echo ran > /ran\n";
    let place = Place::with(text, Tree::new().file("f", "1"));
    let refused = place.build(&["--fail-on-miss"]).expect_code(1);
    assert_says(
        &refused,
        "COPY f /f is not in the cache: never built before",
    );
    place.build(&[]).expect_success();
    place.build(&["--fail-on-miss"]).expect_success();
    place.write("f", "2");
    let refused = place.build(&["--fail-on-miss"]).expect_code(1);
    assert_says(
        &refused,
        "is not in the cache: 1 of 1 file differs: `f` content",
    );
    assert!(!refused.text().contains("echo ran > /ran\n#"), "{refused}");
    // Neither it nor what it stands on was made.
    let made = misses(&place.build(&[]).expect_success());
    assert_eq!(made.len(), 2, "{made:#?}");
    assert!(
        made[0].1.contains("`f` content") || made[0].1.contains("did not finish"),
        "{made:#?}"
    );
    // What is asked for is no miss, nor what follows from it.
    place
        .build(&["--fail-on-miss", "--no-cache"])
        .expect_success();
    place.build(&["--fail-on-miss=false"]).expect_success();
}

#[test]
fn what_was_removed_says_so() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new(
        "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=4 2> /dev/null\nRUN true\n",
    );
    place.build(&[]).expect_success();
    place.run(&["prune", "-af"]).expect_success();
    let pruned = misses(&place.build(&[]).expect_success());
    assert_eq!(pruned.len(), 2, "{pruned:#?}");
    assert!(
        pruned
            .iter()
            .all(|(_, why)| why == "removed today by a prune"),
        "{pruned:#?}"
    );
    let evicted = misses(&place.build(&["--cache-max", "1m"]).expect_success());
    assert!(
        evicted
            .iter()
            .any(|(_, why)| why == "evicted today to stay under 1 MB"),
        "{evicted:#?}"
    );
    // What is here again was not removed.
    place.build(&[]).expect_success();
    place.build(&["--no-cache"]).expect_success();
    assert!(misses(&place.build(&[]).expect_success()).is_empty());
}

#[track_caller]
fn assert_says(done: &Finished, text: &str) {
    assert!(done.text().contains(text), "{text}\n{done}");
}
