//! Exit codes, environment, output, the file systems every step gets.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rbuild_progress::CancelToken;
use rbuild_sandbox::{
    Error, Limits, Network, Nursery, NurseryConfig, Security, StepExit, StepIo, Ulimit,
};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::Test;
use crate::bed::Bed;

pub const TESTS: &[Test] = &[
    (
        "exit_code_and_signal_are_reported",
        exit_code_and_signal_are_reported,
    ),
    (
        "missing_program_is_exit_code_1",
        missing_program_is_exit_code_1,
    ),
    ("environment_is_completed", environment_is_completed),
    ("both_streams_arrive_whole", both_streams_arrive_whole),
    (
        "background_process_dies_with_the_step",
        background_process_dies_with_the_step,
    ),
    (
        "inherited_descriptors_are_used",
        inherited_descriptors_are_used,
    ),
    (
        "terminal_is_the_controlling_one",
        terminal_is_the_controlling_one,
    ),
    (
        "terminal_of_a_step_that_does_not_start",
        terminal_of_a_step_that_does_not_start,
    ),
    ("standard_input_is_empty", standard_input_is_empty),
    ("namespaces_are_the_steps_own", namespaces_are_the_steps_own),
    (
        "network_none_has_loopback_only",
        network_none_has_loopback_only,
    ),
    (
        "devices_are_those_of_a_container",
        devices_are_those_of_a_container,
    ),
    (
        "hosts_and_resolver_are_read_only",
        hosts_and_resolver_are_read_only,
    ),
    ("ulimits_are_set", ulimits_are_set),
    ("limits_are_kept_by_a_cgroup", limits_are_kept_by_a_cgroup),
    (
        "a_helper_that_is_no_nursery_is_named",
        a_helper_that_is_no_nursery_is_named,
    ),
    (
        "a_set_up_failure_names_the_step",
        a_set_up_failure_names_the_step,
    ),
];

fn exit_code_and_signal_are_reported(bed: &Bed) {
    for code in [0, 7, 255] {
        let ran = bed.run(&bed.shell(&format!("exit {code}")));
        assert_eq!(ran.exit, StepExit::Code(code));
    }
    // Process 1 of a namespace ignores what it sends itself; the kernel's own kill counts.
    let mut spec = bed.shell("while :; do :; done");
    spec.ulimits = vec![Ulimit {
        name: "cpu".into(),
        soft: 1,
        hard: 1,
    }];
    let ran = bed.run(&spec);
    assert_eq!(ran.exit, StepExit::Signal(9));
    assert_eq!(ran.exit.code(), 137);
}

fn missing_program_is_exit_code_1(bed: &Bed) {
    let cases = [
        (
            "nope",
            1,
            "exec: \"nope\": executable file not found in $PATH\n",
        ),
        (
            "/nope",
            1,
            "exec: \"/nope\": stat /nope: no such file or directory\n",
        ),
        (
            "/etc/passwd",
            1,
            "exec: \"/etc/passwd\": permission denied\n",
        ),
        ("/etc", 1, "exec: \"/etc\": is a directory\n"),
        ("/garbage", 255, "exec /garbage: exec format error\n"),
        ("/script", 255, "exec /script: no such file or directory\n"),
    ];
    let top = bed.dir("top");
    for (name, text) in [("garbage", "\u{1}\u{2}"), ("script", "#!/none\n")] {
        fs::write(top.join(name), text).unwrap();
        chmod(&top.join(name), 0o755);
    }
    for (program, code, message) in cases {
        let ran = bed.run(&bed.spec_on(vec![top.clone(), bed.base()], &[program]));
        assert_eq!(
            (ran.exit, ran.stderr.as_str()),
            (StepExit::Code(code), message)
        );
    }
}

pub fn chmod(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn environment_is_completed(bed: &Bed) {
    let mut spec = bed.shell("env | sort; pwd");
    spec.env = vec![("A".into(), "1".into()), ("A".into(), "2 3".into())];
    spec.cwd = "/tmp".into();
    assert_eq!(
        bed.text(&spec),
        "A=2 3\nHOME=/root\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/tmp\nSHLVL=1\n/tmp\n"
    );
}

fn both_streams_arrive_whole(bed: &Bed) {
    let script = "dd if=/dev/zero bs=65536 count=48 2>/dev/null & \
        dd if=/dev/zero bs=65536 count=32 >&2 2>/dev/null; wait; printf end; printf END >&2";
    let ran = bed.run(&bed.shell(script));
    assert_eq!(ran.stdout.len(), 48 * 65536 + 3);
    assert_eq!(ran.stderr.len(), 32 * 65536 + 3);
    assert!(ran.stdout.ends_with("end") && ran.stderr.ends_with("END"));
}

fn background_process_dies_with_the_step(bed: &Bed) {
    let begun = Instant::now();
    let ran = bed.run(&bed.shell("sleep 1000 & (setsid sleep 1000 &) ; echo done"));
    assert_eq!(ran.stdout, "done\n");
    assert!(begun.elapsed().as_secs() < 10, "waited for the background");
}

fn inherited_descriptors_are_used(bed: &Bed) {
    let path = bed.dir("io").join("out");
    let input = bed.dir("io").join("in");
    fs::write(&input, "given\n").unwrap();
    let out = fs::File::create(&path).unwrap();
    let input = fs::File::open(input).unwrap();
    let io = StepIo::Inherit {
        stdin: input.as_fd(),
        stdout: out.as_fd(),
        stderr: out.as_fd(),
    };
    let spec = bed.shell("cat; echo err >&2");
    let exit = bed
        .nursery
        .run_step(&spec, io, &CancelToken::new())
        .unwrap();
    assert_eq!(exit, StepExit::Code(0));
    assert_eq!(fs::read_to_string(path).unwrap(), "given\nerr\n");
}

fn terminal_is_the_controlling_one(bed: &Bed) {
    let mut master = None;
    let mut on_open = |opened: OwnedFd| {
        let size = Winsize {
            ws_row: 33,
            ws_col: 77,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&opened, size).unwrap();
        master = Some(opened);
    };
    let io = StepIo::Terminal {
        on_open: &mut on_open,
    };
    // /dev/tty opens only where there is a controlling terminal.
    let mut spec = bed.shell(
        "test -t 0 && test -t 1 && test -t 2 && tty && stty size && stat -c %u $(tty) && \
         test -c /dev/console && echo to the console >/dev/console && echo yes >/dev/tty",
    );
    spec.user = "www-data".into();
    let exit = bed
        .nursery
        .run_step(&spec, io, &CancelToken::new())
        .unwrap();
    let mut text = Vec::new();
    let mut buffer = [0_u8; 64];
    // EIO: nobody has the other side open any more.
    while let Ok(count @ 1..) = rustix::io::read(master.as_ref().unwrap(), &mut buffer) {
        text.extend_from_slice(&buffer[..count]);
    }
    let owner = if bed.has_many_ids() { 33 } else { 0 };
    assert_eq!(
        String::from_utf8_lossy(&text),
        format!("/dev/pts/0\r\n33 77\r\n{owner}\r\nto the console\r\nyes\r\n")
    );
    assert_eq!(exit, StepExit::Code(0));
}

fn terminal_of_a_step_that_does_not_start(bed: &Bed) {
    let mut opened = 0;
    let mut on_open = |_: OwnedFd| opened += 1;
    let mut spec = bed.shell("true");
    spec.user = "nobodyx".into();
    let io = StepIo::Terminal {
        on_open: &mut on_open,
    };
    let outcome = bed.nursery.run_step(&spec, io, &CancelToken::new());
    assert!(matches!(outcome, Err(Error::User(_))), "{outcome:?}");
    assert_eq!(opened, 0);
}

fn standard_input_is_empty(bed: &Bed) {
    assert_eq!(
        bed.text(&bed.shell("cat; readlink /proc/self/fd/0")),
        "/dev/null\n"
    );
}

fn namespaces_are_the_steps_own(bed: &Bed) {
    let mut spec = bed.shell(
        "echo $$; hostname; \
         for n in mnt pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done; ps | wc -l",
    );
    spec.hostname = "some-host".into();
    let text = bed.text(&spec);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(&lines[..2], ["1", "some-host"]);
    for (index, name) in ["mnt", "pid", "ipc", "uts", "cgroup", "net"]
        .iter()
        .enumerate()
    {
        let ours = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let same = lines[2 + index] == ours.to_string_lossy();
        assert_eq!(
            same,
            *name == "net",
            "{name}: the default network is the host's"
        );
    }
    assert!(
        lines[8].trim().parse::<u32>().unwrap() <= 5,
        "sees others: {text}"
    );
}

fn network_none_has_loopback_only(bed: &Bed) {
    let mut spec = bed.shell("ls /sys/class/net; tail -n +3 /proc/net/dev | wc -l; ping -c1 127.0.0.1 >/dev/null && echo up");
    spec.network = Network::None;
    assert_eq!(bed.text(&spec), "lo\n1\nup\n");
}

fn devices_are_those_of_a_container(bed: &Bed) {
    let mut spec = bed.shell(
        "ls /dev | tr '\\n' ' '; echo; for d in null zero full random urandom tty; do stat -c '%n %t:%T' /dev/$d; done; \
         echo lost >/dev/null; head -c 3 /dev/zero | wc -c; echo x >/dev/full; readlink /dev/fd; readlink /dev/ptmx; \
         df -P /dev/shm | tail -1 | awk '{print $2}'; echo x >/dev/stdout; stat -f -c %T /dev/mqueue",
    );
    spec.shm_size = 8 << 20;
    let text = bed.text(&spec);
    for expected in [
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero \n",
        "/dev/null 1:3\n",
        "/dev/zero 1:5\n",
        "/dev/full 1:7\n",
        "/dev/random 1:8\n",
        "/dev/urandom 1:9\n",
        "/dev/tty 5:0\n",
        "No space left on device",
        "/proc/self/fd\npts/ptmx\n8192\nx\n",
    ] {
        assert!(text.contains(expected), "{expected:?} missing in\n{text}");
    }
}

fn hosts_and_resolver_are_read_only(bed: &Bed) {
    let mut spec = bed.shell("cat /etc/hosts; cat /etc/resolv.conf; echo x >>/etc/hosts; echo x >/etc/resolv.conf; exit 0");
    spec.hosts = vec![("10.1.2.3".into(), "registry.local".into())];
    let ran = bed.run(&spec);
    let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert_eq!(
        ran.stdout,
        format!(
            "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.2.3\tregistry.local\n{resolver}"
        )
    );
    assert_eq!(
        ran.stderr.matches("Read-only file system").count(),
        2,
        "{ran:?}"
    );
    assert_eq!(
        Bed::names(&ran.upper),
        Vec::<String>::new(),
        "stubs stay out of the layer"
    );
}

fn ulimits_are_set(bed: &Bed) {
    let mut spec = bed.shell("ulimit -n; ulimit -c");
    spec.ulimits = ["nofile", "core"]
        .map(|name| Ulimit {
            name: name.into(),
            soft: 64,
            hard: 64,
        })
        .into();
    let text = bed.text(&spec);
    assert!(text.starts_with("64\n"), "{text}");
    spec = bed.shell("true");
    spec.ulimits = vec![Ulimit {
        name: "none".into(),
        soft: 0,
        hard: 0,
    }];
    let error = bed.try_run(&spec).unwrap_err().to_string();
    assert_eq!(
        error,
        "step setup: set resource limit: none: no such resource"
    );
}

fn limits_are_kept_by_a_cgroup(bed: &Bed) {
    let mut spec = bed.shell("for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo all");
    spec.limits = Limits {
        pids: Some(4),
        ..Limits::default()
    };
    match bed.try_run(&spec) {
        Ok(ran) => assert!(!ran.stdout.contains("all"), "eight of four: {ran:?}"),
        // Stated, not ignored: that is all that can be asked where no cgroup is ours.
        Err(Error::Setup { stage, .. }) if !bed.is_root() => assert_eq!(stage, "limit resources"),
        Err(error) => panic!("{error}"),
    }
    let mut spec = bed.shell("head -c 100000000 /dev/zero | tail >/dev/null; exec tail /dev/zero");
    spec.limits.memory = Some(32 << 20);
    match bed.try_run(&spec) {
        Ok(ran) => assert_eq!(ran.exit, StepExit::OutOfMemory),
        Err(Error::Setup { stage, .. }) if !bed.is_root() => assert_eq!(stage, "limit resources"),
        Err(error) => panic!("{error}"),
    }
}

fn a_helper_that_is_no_nursery_is_named(bed: &Bed) {
    let config = NurseryConfig {
        helper: "/bin/true".into(),
        mode: bed.mode.clone(),
    };
    let Err(error) = Nursery::start(&config) else {
        panic!("/bin/true is no nursery");
    };
    let text = error.to_string();
    assert!(
        text.contains("/bin/true") && text.contains("nursery_main()"),
        "{text}"
    );
    let config = NurseryConfig {
        helper: "/no/such/helper".into(),
        mode: bed.mode.clone(),
    };
    assert!(matches!(Nursery::start(&config), Err(Error::Start { .. })));
}

fn a_set_up_failure_names_the_step(bed: &Bed) {
    let mut spec = bed.shell("true");
    spec.root.lowers = vec![bed.temp.path().join("gone"), bed.base()];
    let error = bed.try_run(&spec).unwrap_err().to_string();
    assert!(error.starts_with("step setup: mount overlay: "), "{error}");
    let mut spec = bed.shell("true");
    spec.cwd = "relative".into();
    let error = bed.try_run(&spec).unwrap_err().to_string();
    assert!(error.contains("working directory"), "{error}");
    spec = bed.shell("true");
    spec.security = Security::Sandbox;
    spec.args = vec!["a\0b".into()];
    assert!(matches!(bed.try_run(&spec), Err(Error::Setup { .. })));
}
