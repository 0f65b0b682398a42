//! Every option of `RUN --mount`, and what else the command line gives to steps: steps that check it themselves.

use rbuild_testkit::{Privilege, Tree, granted};

use crate::place::{Place, shell_in};

/// A stage whose files are mounted by others.
const OTHER: &str = "FROM busybox AS other\n\
    RUN mkdir -p /o/d && echo other > /o/d/f && chown 5:6 /o/d/f && chmod 640 /o/d/f && ln -s /o/d/f /o/link\n\
    FROM busybox\n";

/// Builds steps on busybox, a file and a folder being in the context.
#[track_caller]
fn steps(steps: &[&str], words: &[&str]) {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::with(
        &format!("{OTHER}{}\n", steps.join("\n")),
        Tree::new()
            .file("f", "context")
            .file("sub/s", "s")
            .file("hidden", "h")
            .file(".dockerignore", "hidden"),
    );
    std::fs::write(place.dir().join("key"), "sekret").expect("write the secret");
    let mut all = vec!["-t", "mounts", "--secret", "id=key,src=key"];
    all.extend(words);
    place.build(&all).expect_success();
    // No step wrote anything, and no place where something was mounted is left.
    let left = "ls -d /ctx /file /sub /one /c /t /run /etc/sec /dev/pipes 2> /dev/null; ls /mnt 2> /dev/null; true";
    assert_eq!(shell_in(&place, "mounts", left), "");
    let history = place.run(&["inspect", "mounts"]).expect_success().stdout;
    let empty = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    assert_eq!(history.matches(empty).count(), steps.len(), "{history}");
}

#[test]
fn bind_mounts() {
    steps(
        &[
            "RUN --mount=target=/ctx test -f /ctx/sub/s && ! test -e /ctx/hidden && ! touch /ctx/x",
            "RUN --mount=type=bind,target=/ctx,rw touch /ctx/x && rm /ctx/f && ! test -e /ctx/f",
            "RUN --mount=type=bind,target=/ctx,readwrite=false ! touch /ctx/x && test -f /ctx/f",
            "RUN --mount=type=bind,source=f,target=/file test \"$(cat /file)\" = context",
            "RUN --mount=type=bind,src=/sub/../sub,dst=sub test \"$(ls /sub)\" = s",
            "RUN --mount=type=bind,from=other,source=/o/d,destination=/one test \"$(stat -c %u:%g:%a /one/f)\" = 5:6:640",
            "RUN --mount=type=bind,from=other,source=/o/link,target=/one,rw test \"$(cat /one)\" = other && echo x > /one",
            "RUN --mount=type=bind,from=busybox,source=/etc,target=/one test -f /one/passwd",
            "RUN --mount=type=bind,target=/etc/sec,source=f --mount=target=/one ls /etc/sec /one/f",
        ],
        &[],
    );
}

#[test]
fn cache_mounts() {
    steps(
        &[
            "RUN --mount=type=cache,target=/c,id=x,mode=0711,uid=3,gid=4 test \"$(stat -c %u:%g:%a /c)\" = 3:4:711 && touch /c/one",
            "RUN --mount=type=cache,target=/c,id=x,mode=0711,uid=3,gid=4,ro test -f /c/one && ! touch /c/two",
            "RUN --mount=type=cache,target=/c test \"$(stat -c %u:%g:%a /c)\" = 0:0:755 && echo 1 > /c/f",
            "RUN --mount=type=cache,target=/t,id=/c test \"$(cat /t/f)\" = 1",
            "RUN --mount=type=cache,target=/c,from=other,source=/o,sharing=private test \"$(cat /c/d/f)\" = other && echo 2 > /c/d/f",
            "RUN --mount=type=cache,target=/c,from=other,source=/o,sharing=locked test \"$(cat /c/d/f)\" = 2",
            "RUN --mount=type=cache,target=/c,sharing=shared --mount=type=cache,target=/t,id=/c test -f /t/f",
        ],
        &[],
    );
}

#[test]
fn mounts_in_memory() {
    steps(
        &[
            "RUN --mount=type=tmpfs,target=/t,size=64k test \"$(stat -c %a /t)\" = 1777 && ! dd if=/dev/zero of=/t/z bs=1k count=65",
            "RUN --mount=type=tmpfs,target=/t test -z \"$(ls -A /t)\" && echo x > /t/x",
            "RUN --mount=type=tmpfs,target=/tmp touch /tmp/x",
        ],
        &[],
    );
}

#[test]
fn secrets() {
    steps(
        &[
            "RUN --mount=type=secret,id=key test \"$(stat -c %u:%g:%a /run/secrets/key)\" = 0:0:400",
            "RUN --mount=type=secret,id=key,target=/etc/sec,mode=0444,uid=7,gid=8 test \"$(stat -c %u:%g:%a /etc/sec)\" = 7:8:444",
            "RUN --mount=type=secret,source=key,env=KEY test \"$KEY\" = sekret && ! test -e /run",
            "RUN --mount=type=secret,id=key,env=KEY,target=/one test \"$KEY\" = \"$(cat /one)\"",
            "RUN --mount=type=secret,target=/one/key,required test \"$(cat /one/key)\" = sekret && ! touch /one/key",
            "RUN --mount=type=secret,id=none --mount=type=secret,id=none,env=KEY test \"${KEY-unset}\" = '' && ! test -e /run",
            "RUN --mount=type=ssh test \"$SSH_AUTH_SOCK\" = /run/buildkit/ssh_agent.0 && ! test -e /run",
        ],
        &[],
    );
}

#[test]
fn what_the_command_line_gives() {
    steps(
        &[
            "RUN test \"$(sed -n 3p /etc/hosts)\" = \"$(printf '10.1.2.3\\ta.b')\" && ! sh -c 'echo >> /etc/hosts'",
            "RUN grep -q '^127.0.0.1.localhost builder$' /etc/hosts && test \"$(hostname)\" = builder",
            "RUN test \"$(df -k /dev/shm | awk 'NR==2 {print $2}')\" = 8192",
            "RUN test \"$(ulimit -Sn) $(ulimit -Hn)\" = '77 88'",
            "RUN test \"$HTTP_PROXY $http_proxy\" = 'http://p:1 http://p:1' && test -s /etc/resolv.conf",
            "RUN --network=none test -z \"$(ip route)\" && grep -q a.b /etc/hosts",
            "RUN --network=host --security=insecure test \"$(awk '/^Seccomp:/ {print $2}' /proc/self/status)\" = 0",
            "RUN --security=insecure ls /dev/loop-control /dev/fuse /dev/kvm /dev/net/tun /dev/loop0",
            "RUN --network=default --security=sandbox test \"$(awk '/^Seccomp:/ {print $2}' /proc/self/status)\" = 2",
        ],
        &[
            "--add-host=a.b:10.1.2.3",
            "--build-arg=BUILDKIT_SANDBOX_HOSTNAME=builder",
            "--shm-size=8m",
            "--ulimit=nofile=77:88",
            "--build-arg=http_proxy=http://p:1",
            "--allow=network.host,security.insecure",
        ],
    );
}

#[test]
fn here_documents() {
    steps(
        &[
            "RUN <<EOF\ntest \"$0\" = /bin/sh\nEOF",
            "RUN <<EOF\n#!/bin/awk -f\nBEGIN { exit 0 }\nEOF",
            "RUN <<'EOF'\n#!/bin/sh\ntest $0 = /dev/pipes/EOF && ! echo > /dev/pipes/EOF\nEOF",
            "RUN <<-EOF\n\ttest 1 = 1\n\tEOF",
            "RUN cat <<A > /dev/shm/x && cat <<B >> /dev/shm/x && test \"$(tail -n 1 /dev/shm/x)\" = two\none\nA\ntwo\nB",
            "SHELL [\"/bin/busybox\", \"sh\", \"-ec\"]\nRUN <<EOF\ntest \"$0\" = sh\nEOF",
        ],
        &[],
    );
}

#[test]
fn rights_that_were_not_given_are_named() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("");
    for (step, message) in [
        ("--network=host true", "network.host is not allowed"),
        (
            "--security=insecure true",
            "security.insecure is not allowed",
        ),
        (
            "--device=vendor.com/class=x true",
            "device feature is only supported",
        ),
        (
            "--device=vendor.com/class=x,required=2 true",
            "invalid value for required: 2",
        ),
        (
            "--mount=type=secret,id=none,required true",
            "secret none: not found",
        ),
        (
            "--mount=type=secret,id=none,required true",
            "--secret id=none,src=FILE",
        ),
        (
            "--mount=type=ssh,required true",
            "no SSH key \"default\" forwarded",
        ),
        ("--mount=type=ssh,required true", "--ssh default=KEYFILE"),
        ("--mount=target=/ true", "invalid mount target \"/\""),
    ] {
        place.write("Dockerfile", &format!("FROM busybox\nRUN {step}\n"));
        place.build(&[]).expect_code(1).expect_text(message);
    }
}
