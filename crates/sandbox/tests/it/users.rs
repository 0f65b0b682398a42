//! `USER`, the working directory, and the tests as an ordinary user.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, ExitCode};

use rbuild_sandbox::{Error, NurseryMode};
use rbuild_testkit::{TempDir, find_tool, need_tool};

use crate::Test;
use crate::bed::Bed;
use crate::step::chmod;

pub const TESTS: &[Test] = &[
    (
        "user_is_looked_up_in_the_image",
        user_is_looked_up_in_the_image,
    ),
    ("unknown_user_is_an_error", unknown_user_is_an_error),
    (
        "working_directory_belongs_to_the_user",
        working_directory_belongs_to_the_user,
    ),
    ("user_can_write_to_dev_stdout", user_can_write_to_dev_stdout),
    (
        "owners_act_as_the_mode_allows",
        owners_act_as_the_mode_allows,
    ),
];

/// Ids that no host uses for a person.
const USER: u32 = 64_242;
const FIRST_SUBORDINATE: u32 = 1_064_242_000;

/// Runs this binary again as a user who has, or has not, subordinate ids.
///
/// In a mount namespace of its own, where the host's account files are covered: nothing of the host changes.
pub fn run_as_user(mode: &str, filters: &[String]) -> ExitCode {
    let (unshare, setpriv) = (need_tool("unshare"), need_tool("setpriv"));
    if mode == "subordinate" && find_tool("newuidmap").is_none() {
        let required = env::var("RBUILD_REQUIRE_PRIVILEGED").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "newuidmap is missing; install Debian's package `uidmap`"
        );
        eprintln!("skipped: subordinate ids need newuidmap (Debian's package `uidmap`)");
        return ExitCode::SUCCESS;
    }
    let temp = TempDir::new();
    chmod(temp.path(), 0o755);
    let at = |name: &str| temp.path().join(name).to_string_lossy().into_owned();
    fs::copy("/proc/self/exe", at("it")).unwrap();
    chmod(at("it").as_ref(), 0o755);
    let mut passwd = fs::read_to_string("/etc/passwd").unwrap();
    passwd.push_str(&format!("rbuild-test:x:{USER}:{USER}::/:/bin/sh\n"));
    fs::write(at("passwd"), passwd).unwrap();
    let ranges = match mode {
        "subordinate" => format!("rbuild-test:{FIRST_SUBORDINATE}:65536\n"),
        _ => String::new(),
    };
    fs::write(at("subid"), ranges).unwrap();
    fs::create_dir(at("tmp")).unwrap();
    chmod(at("tmp").as_ref(), 0o1777);
    let script = "set -e; mount --bind \"$1/passwd\" /etc/passwd\n\
        for f in /etc/subuid /etc/subgid; do test -e $f || touch $f; mount --bind \"$1/subid\" $f; done\n\
        dir=$1; shift; cd /; TMPDIR=$dir/tmp; export TMPDIR; exec \"$@\"";
    let status = Command::new(unshare)
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(temp.path())
        .arg(setpriv)
        .args([format!("--reuid={USER}"), format!("--regid={USER}")])
        .arg("--clear-groups")
        .args([at("it"), "--as".into(), mode.into()])
        .args(filters)
        .status()
        .unwrap();
    ExitCode::from(u8::from(!status.success()))
}

/// Runs the tests as root who may not mount, as in a plain container.
pub fn run_as_limited_root(filters: &[String]) -> ExitCode {
    let status = Command::new(need_tool("setpriv"))
        .args(["--bounding-set=-sys_admin", "--inh-caps=-all"])
        .arg(env::current_exe().unwrap())
        .args(["--as", "nested"])
        .args(filters)
        .status()
        .unwrap();
    ExitCode::from(u8::from(!status.success()))
}

fn user_is_looked_up_in_the_image(bed: &Bed) {
    let top = bed.dir("top");
    fs::create_dir(top.join("etc")).unwrap();
    fs::write(
        top.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nbuild:x:1000:1001::/home/build:/bin/sh\n",
    )
    .unwrap();
    fs::write(
        top.join("etc/group"),
        "root:x:0:\nwheel:x:10:build\nbuild:x:1001:\n",
    )
    .unwrap();
    let cases = [
        ("", "0 0 0 /root"),
        ("build", "1000 1001 1001 10 /home/build"),
        ("1000", "1000 1001 1001 10 /home/build"),
        ("build:wheel", "1000 10 10 /home/build"),
        ("4000:5000", "4000 5000 5000 /"),
        ("4000", "4000 0 0 /"),
    ];
    for (user, expected) in cases {
        let mut spec = bed.spec_on(
            vec![top.clone(), bed.base()],
            &["/bin/sh", "-c", "echo $(id -u) $(id -g) $(id -G) $HOME"],
        );
        spec.user = user.into();
        let text = bed.text(&spec);
        if bed.has_many_ids() {
            assert_eq!(text.trim(), expected, "USER {user}");
        } else {
            let home = expected.rsplit(' ').next().unwrap();
            assert_eq!(
                text.trim(),
                format!("0 0 0 {home}"),
                "USER {user} with one id"
            );
        }
    }
}

fn unknown_user_is_an_error(bed: &Bed) {
    let cases = [
        (
            "nobodyx",
            "unable to find user nobodyx: no matching entries in passwd file",
        ),
        (
            "root:none",
            "unable to find group none: no matching entries in group file",
        ),
    ];
    for (user, expected) in cases {
        let mut spec = bed.shell("true");
        spec.user = user.into();
        let error = bed.try_run(&spec).unwrap_err();
        assert!(matches!(error, Error::User(_)), "{error:?}");
        assert_eq!(error.to_string(), expected);
    }
}

fn working_directory_belongs_to_the_user(bed: &Bed) {
    let mut spec = bed.shell("stat -c '%u:%g %a' . .. ../..; pwd; touch mine");
    spec.user = "www-data".into();
    spec.cwd = "/srv/made/here".into();
    let owner = if bed.has_many_ids() { "33:33" } else { "0:0" };
    assert_eq!(
        bed.text(&spec),
        format!("{owner} 755\n{owner} 755\n{owner} 755\n/srv/made/here\n")
    );
    // An existing one keeps its owner, and root may enter for the user what he cannot.
    let mut spec = bed.shell("pwd");
    spec.user = "www-data".into();
    spec.cwd = "/root".into();
    assert_eq!(bed.run(&spec).exit.code(), 0);
}

fn user_can_write_to_dev_stdout(bed: &Bed) {
    let mut spec = bed.shell("echo out >/dev/stdout; echo err >/dev/stderr");
    spec.user = "nobody".into();
    let ran = bed.run(&spec);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
}

fn owners_act_as_the_mode_allows(bed: &Bed) {
    let mut spec = bed.shell("touch f && chown 33:44 f && stat -c %u:%g f");
    spec.cwd = "/".into();
    let text = bed.text(&spec);
    let meta = fs::metadata(spec.root.upper.join("f")).unwrap();
    if !bed.has_many_ids() {
        assert_eq!(text, "0:0\n", "answered with success, not made");
        let own = rustix::process::getuid().as_raw();
        assert_eq!(meta.uid(), own);
    } else {
        assert_eq!(text, "33:44\n");
        match bed.mode {
            NurseryMode::Root | NurseryMode::Nested { .. } => assert_eq!(meta.uid(), 33),
            // Of a user whose ranges are not ours nothing is known.
            _ if env::args().any(|argument| argument == "--as") => {
                assert_eq!(meta.uid(), FIRST_SUBORDINATE + 32);
            }
            _ => {}
        }
    }
}
