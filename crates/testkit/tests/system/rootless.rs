//! The same builds as an ordinary user, with subordinate ids and without.

use std::fs;

use rbuild_testkit::{Finished, Privilege, granted, need_tool, run};

use crate::host::{Grant, User};
use crate::leftovers::processes_left;
use crate::place::LIMIT;

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
    assert_eq!(second.text().matches("CACHED").count(), 4, "{second}");
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
fn killing_a_rootless_build_takes_its_steps_along() {
    if !ready() {
        return;
    }
    let user = User::new(Grant::Ranges);
    let mark = "52817.5";
    let script = format!(
        "printf 'FROM busybox\\nUSER nobody\\nRUN echo going-$((1+1)); sleep {mark}\\n' > Dockerfile; \
         rbuild build --progress plain --build-context \"$BASE\" . 2> log & \
         until grep -q going-2 log; do sleep 0.05; done; kill -9 $!; wait $!; rbuild store verify; ls ~/.local/share/rbuild/stage"
    );
    let done = run(&mut user.shell(&script), LIMIT);
    let left = processes_left(mark, std::time::Duration::from_secs(1));
    let left: Vec<_> = left
        .iter()
        .filter(|(_, line)| line.starts_with("sleep"))
        .collect();
    assert!(left.is_empty(), "still running: {left:?}");
    assert!(done.status.success(), "{done}");
}
