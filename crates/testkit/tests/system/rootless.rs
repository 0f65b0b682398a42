//! The same builds as an ordinary user, with subordinate ids and without.

use std::fs;
use std::process::Command;

use rbuild_testkit::{Finished, Privilege, granted, need_tool, run};

use crate::host::{Grant, User};
use crate::leftovers::processes_left;
use crate::place::{LIMIT, Place, cached_steps};

const DOCKERFILE: &str = "FROM busybox\n\
    RUN mkdir /tmp/logs && id -u > /tmp/logs/id\n\
    RUN echo x > /etc/x && chmod 4755 /etc/x && rm /etc/group\n\
    COPY --chmod=0640 file /file\n\
    RUN --mount=type=cache,target=/c touch /c/y && cat /file > /copy\n";

fn build(user: &User, words: &str) -> Finished {
    fs::write(user.work().join("Dockerfile"), DOCKERFILE).expect("write the Dockerfile");
    fs::write(user.work().join("file"), "content\n").expect("write a file");
    let script = format!("exec rbuild build --progress plain --build-context \"$BASE\" {words} .");
    run(&mut user.shell(&script), LIMIT)
}

fn ready() -> bool {
    granted(Privilege::Root) && granted(Privilege::UserNamespaces)
}

#[test]
fn with_subordinate_ids_users_in_the_image_are_real() {
    if !ready() {
        return;
    }
    need_tool("newuidmap");
    let user = User::new(Grant::Ranges);
    build(&user, "-t first").expect_success();
    let script = "rbuild run first sh -c 'cat /tmp/logs/id /copy; ls /etc/group || ls /etc/passwd; stat -c %a /etc/x'";
    let shown = run(&mut user.shell(script), LIMIT).expect_success();
    assert_eq!(shown.stdout, "0\ncontent\n/etc/passwd\n4755\n", "{shown}");
    let second = build(&user, "-t first").expect_success();
    assert_eq!(cached_steps(&second).len(), 4, "{second}");
    fs::write(user.work().join("Dockerfile"), "").expect("write the Dockerfile");
    let other = "printf 'FROM busybox\\nUSER nobody\\nRUN id -u > /tmp/id; stat -c %%u /tmp/id > /tmp/owner\\n' | \
        rbuild build --progress plain --build-context \"$BASE\" -t other -f - . && \
        rbuild run other sh -c 'cat /tmp/id /tmp/owner' && rbuild store verify >&2";
    let shown = run(&mut user.shell(other), LIMIT).expect_success();
    assert_eq!(shown.stdout, "65534\n65534\n", "{shown}");
}

#[test]
fn without_subordinate_ids_it_goes_on_with_one_and_says_so() {
    if !ready() {
        return;
    }
    let user = User::new(Grant::Nothing);
    let first = build(&user, "-t first").expect_success();
    assert!(
        first.text().contains("subordinate") || first.text().contains("subuid"),
        "{first}"
    );
    let script = "rbuild run first sh -c 'cat /tmp/logs/id /copy' && rbuild store verify >&2";
    let shown = run(&mut user.shell(script), LIMIT).expect_success();
    assert_eq!(shown.stdout, "0\ncontent\n", "{shown}");
}

#[test]
fn files_of_other_ids_are_pruned() {
    if !ready() {
        return;
    }
    need_tool("newuidmap");
    let user = User::new(Grant::Ranges);
    let script = "printf 'FROM busybox\\nUSER nobody\\nRUN --mount=type=cache,target=/c,uid=65534,mode=0700 \
         mkdir -m 700 /tmp/mine /c/mine && touch /tmp/mine/x /c/mine/x\\n' > Dockerfile; \
         rbuild build --build-context \"$BASE\" . && rbuild du >&2 && rbuild prune -a -f >&2 && rbuild store verify >&2; \
         cd ~/.local/share/rbuild && ls trees stage cache/*";
    let done = run(&mut user.shell(script), LIMIT).expect_success();
    assert!(!done.stdout.contains(".data"), "{done}");
    let trees = done.stdout.split("trees:").nth(1).map(str::trim);
    assert_eq!(trees, Some(""), "{done}");
    assert!(done.text().contains("0 faults"), "{done}");
}

#[test]
fn killing_a_rootless_build_takes_its_steps_along() {
    if !ready() {
        return;
    }
    let user = User::new(Grant::Ranges);
    let mark = "52817.5";
    let script = format!(
        "printf 'FROM busybox\\nUSER nobody\\nRUN mkdir -m 700 /tmp/mine && touch /tmp/mine/x; echo going-$((1+1)); sleep {mark}\\n' > Dockerfile; \
         rbuild build --progress plain --build-context \"$BASE\" . 2> log & \
         until grep -q going-2 log; do sleep 0.05; done; kill -9 $!; wait $!; rbuild store verify >&2; ls ~/.local/share/rbuild/stage"
    );
    let done = run(&mut user.shell(&script), LIMIT);
    let left = processes_left(mark, std::time::Duration::from_secs(1));
    let left: Vec<_> = left
        .iter()
        .filter(|(_, line)| line.starts_with("sleep"))
        .collect();
    assert!(left.is_empty(), "still running: {left:?}");
    assert!(done.status.success(), "{done}");
    // Files of another user's are swept as well.
    assert!(done.stdout.is_empty(), "left in the stage: {done}");
}

/// Shows whether owners, opaque directories and other users work.
const OWNERS: &str = "FROM busybox\n\
    RUN mkdir -p /d/old && echo x > /d/old/x && chown 33:44 /d\n\
    RUN rm -rf /d && mkdir /d && echo new > /d/new\n\
    USER www-data\n\
    RUN echo mine > /tmp/mine\n\
    RUN ls -R /d > /tmp/list; stat -c %u:%g /tmp/mine > /tmp/owner\n";

/// The same command, started by another one.
fn through(words: &[String], inner: &Command) -> Command {
    let mut command = Command::new(need_tool(&words[0]));
    command.args(&words[1..]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.current_dir(inner.get_current_dir().expect("a place has a directory"));
    command
}

/// Builds and looks at the result through a command that limits what root may do.
#[track_caller]
fn limited_root_builds(place: &Place, words: &[String], owner: &str) {
    let limited = |command: &Command| run(&mut through(words, command), LIMIT).expect_success();
    limited(&place.build_command(&["-t", "owners"]));
    let shown = limited(&place.rbuild(&["run", "owners", "cat", "/tmp/list", "/tmp/owner"]));
    assert_eq!(shown.stdout, format!("/d:\nnew\n{owner}\n"), "{shown}");
    limited(&place.rbuild(&["store", "verify"]));
}

#[test]
fn root_who_may_not_mount_takes_a_user_namespace() {
    if ready() {
        let words = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all"];
        limited_root_builds(&Place::new(OWNERS), &words.map(str::to_owned), "33:33");
    }
}

/// Words that start a command as root of a user namespace with many ids, each mapped to itself.
fn with_many_ids(place: &Place) -> Vec<String> {
    let grant = place.dir().join("grant");
    fs::write(&grant, "root:0:65536\n").expect("write a grant");
    let bind = format!(
        "for f in /etc/subuid /etc/subgid; do mount --bind '{}' $f; done && \
         exec unshare --user --map-users=0,0,65536 --map-groups=0,0,65536 \"$@\"",
        grant.display()
    );
    ["unshare", "--mount", "sh", "-c", &bind, "sh"]
        .map(str::to_owned)
        .into()
}

#[test]
fn root_of_a_user_namespace_knows_where_its_rights_end() {
    if !ready() {
        return;
    }
    need_tool("newuidmap");
    let place = Place::new(OWNERS);
    let words = with_many_ids(&place);
    limited_root_builds(&place, &words, "33:33");
    let one = ["unshare", "--user", "--map-root-user"].map(str::to_owned);
    limited_root_builds(&Place::new(OWNERS), &one, "0:0");
}

#[test]
fn refused_namespaces_are_no_single_id() {
    if !ready() {
        return;
    }
    need_tool("newuidmap");
    let place = Place::new("FROM busybox\nRUN true\n");
    fs::create_dir(place.store()).expect("make the store");
    for dir in [place.dir().to_owned(), place.store()] {
        std::os::unix::fs::chown(dir, Some(1000), Some(1000)).expect("give it away");
    }
    let refuse = "echo 0 > /proc/sys/user/max_user_namespaces && \
                  exec setpriv --reuid=1000 --regid=1000 --clear-groups \"$@\"";
    let mut words = with_many_ids(&place);
    words.extend(["sh", "-c", refuse, "sh"].map(str::to_owned));
    let built = run(&mut through(&words, &place.build_command(&[])), LIMIT);
    assert_eq!(built.code(), Some(3), "{built}");
    assert!(
        built.text().contains("user namespaces are refused"),
        "{built}"
    );
    assert!(!built.text().contains("SingleId"), "{built}");
}

/// Asks for caches of other owners, empty and filled from a stage.
const CACHES: &str = "FROM busybox AS seed\n\
    RUN mkdir -p /seed/d && echo x > /seed/d/f && chown -R 33:44 /seed/d && chmod 700 /seed/d\n\
    FROM busybox\n\
    RUN --mount=type=cache,target=/c,uid=33,gid=44,mode=0750 stat -c '%u:%g %a' /c > /shape\n\
    RUN --mount=type=cache,target=/s,from=seed,source=/seed \\\n\
      stat -c '%n %u:%g %a' /s/d /s/d/f >> /shape && cat /s/d/f >> /shape\n\
    USER www-data\n\
    RUN --mount=type=cache,target=/mine,uid=33 touch /mine/x\n";

#[test]
fn cache_mounts_have_the_owners_asked_for() {
    if !ready() {
        return;
    }
    need_tool("newuidmap");
    for (grant, owner) in [(Grant::Ranges, "33:44"), (Grant::Nothing, "0:0")] {
        let user = User::new(grant);
        fs::write(user.work().join("Dockerfile"), CACHES).expect("write the Dockerfile");
        let script = "rbuild build --build-context \"$BASE\" -t caches . >&2 && \
                      rbuild run --user root caches cat /shape";
        let shown = run(&mut user.shell(script), LIMIT).expect_success();
        let expected = format!("{owner} 750\n/s/d {owner} 700\n/s/d/f {owner} 644\nx\n");
        assert_eq!(shown.stdout, expected, "{grant:?}: {shown}");
    }
}

/// Asks for agents as different users; the second one may be used by its user only.
const AGENTS: &str = "FROM busybox\n\
    RUN --mount=type=ssh stat -c '%F %u:%g %a' $SSH_AUTH_SOCK > /shape\n\
    USER www-data\n\
    RUN --mount=type=ssh,uid=33,gid=44,mode=0640 \\\n\
      test -w $SSH_AUTH_SOCK && stat -c '%F %u:%g %a' $SSH_AUTH_SOCK > /tmp/shape\n\
    RUN --mount=type=ssh,target=/tmp/sock ! test -w /tmp/sock && test -S /tmp/sock\n";

#[test]
fn agents_belong_to_the_user_of_the_step() {
    if !ready() {
        return;
    }
    need_tool("newuidmap");
    let user = User::new(Grant::Ranges);
    fs::write(user.work().join("Dockerfile"), AGENTS).expect("write the Dockerfile");
    let socket = user.work().join("agent");
    let _agent = std::os::unix::net::UnixListener::bind(&socket).expect("listen");
    let script = "rbuild build --build-context \"$BASE\" --ssh default=$PWD/agent -t agents . >&2 && \
                  rbuild run --user root agents cat /shape /tmp/shape && rbuild store verify >&2 && \
                  ls -A ~/.local/share/rbuild/stage";
    let shown = run(&mut user.shell(script), LIMIT).expect_success();
    let expected = "socket 0:0 600\nsocket 33:44 640\n";
    assert_eq!(shown.stdout, expected, "{shown}");
}

#[test]
fn a_user_can_delete_what_steps_left_in_the_store() {
    if !ready() {
        return;
    }
    need_tool("newuidmap");
    let user = User::new(Grant::Ranges);
    let dockerfile = "FROM busybox\nUSER nobody\n\
        RUN --mount=type=cache,target=/c,uid=65534 mkdir -m 700 /tmp/mine /c/mine && touch /tmp/mine/x /c/mine/x\n";
    fs::write(user.work().join("Dockerfile"), dockerfile).expect("write the Dockerfile");
    let script = "rbuild build --build-context \"$BASE\" . >&2 || exit; \
        rm -rf ~/.local/share/rbuild/trees 2> /dev/null && echo removed by other means; \
        rbuild store delete; rbuild store path && rbuild store delete --yes && ls -A ~/.local/share";
    let done = run(&mut user.shell(script), LIMIT).expect_success();
    let path = user.work().join(".local/share/rbuild");
    assert_eq!(done.stdout, format!("{}\n", path.display()), "{done}");
    assert!(done.text().contains("--yes"), "{done}");
}
