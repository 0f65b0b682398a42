//! Capabilities, the system call filter, hidden paths, and our own binary.

use std::fs;
use std::process::ExitCode;

use rbuild_sandbox::{MountSource, Security, StepExit};

use crate::Test;
use crate::bed::{Bed, mount};
use crate::old;
use crate::step::chmod;

pub const TESTS: &[Test] = &[
    (
        "capabilities_are_the_default_ones",
        capabilities_are_the_default_ones,
    ),
    (
        "filter_refuses_what_docker_refuses",
        filter_refuses_what_docker_refuses,
    ),
    (
        "set_id_programs_work_unless_forbidden",
        set_id_programs_work_unless_forbidden,
    ),
    ("host_paths_are_hidden", host_paths_are_hidden),
    ("insecure_hides_nothing", insecure_hides_nothing),
    (
        "devices_are_few_unless_insecure",
        devices_are_few_unless_insecure,
    ),
    (
        "descriptors_of_the_engine_do_not_leak",
        descriptors_of_the_engine_do_not_leak,
    ),
    (
        "own_binary_cannot_be_overwritten",
        own_binary_cannot_be_overwritten,
    ),
    ("old_root_is_gone", old_root_is_gone),
];

const STATUS: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t'";

fn capabilities_are_the_default_ones(bed: &Bed) {
    let expected = |effective: &str, no_new_privs: u8| {
        format!(
            "CapInh:0000000000000000\nCapPrm:{effective}\nCapEff:{effective}\nCapBnd:00000000a80425fb\n\
             CapAmb:0000000000000000\nNoNewPrivs:{no_new_privs}\nSeccomp:2\n"
        )
    };
    let mut spec = bed.shell(STATUS);
    assert_eq!(bed.text(&spec), expected("00000000a80425fb", 0));
    spec = bed.shell(STATUS);
    spec.no_new_privileges = true;
    assert_eq!(bed.text(&spec), expected("00000000a80425fb", 1));
    if bed.has_many_ids() {
        spec = bed.shell(STATUS);
        spec.user = "nobody".into();
        assert_eq!(bed.text(&spec), expected("0000000000000000", 0));
    }
}

fn filter_refuses_what_docker_refuses(bed: &Bed) {
    let spec = bed.shell(
        "mkdir /m; mount -t tmpfs none /m; umount /proc; unshare -m true; unshare -U true; \
         chroot / true && echo chroot; setarch linux64 true 2>/dev/null; swapoff -a; \
         hostname other; date -s 12:00 >/dev/null; echo end",
    );
    let ran = bed.run(&spec);
    assert!(
        ran.stdout.contains("chroot\n") && ran.stdout.ends_with("end\n"),
        "{ran:?}"
    );
    for refused in ["mount:", "umount:", "unshare:", "hostname:", "date:"] {
        let line = ran.stderr.lines().find(|line| line.starts_with(refused));
        let denied = line.is_some_and(|line| {
            line.contains("ermission denied") || line.contains("not permitted")
        });
        assert!(denied, "{refused} {ran:?}");
    }
}

fn set_id_programs_work_unless_forbidden(bed: &Bed) {
    if !bed.has_many_ids() {
        return;
    }
    // Made in a step, so that its owner is the namespace's root; root has no password there.
    let mut spec = bed.shell(
        "mkdir /suid && cp /bin/busybox /suid && chmod 4755 /suid/busybox && \
         sed -i s/root:x:/root::/ /etc/passwd",
    );
    assert_eq!(bed.text(&spec), "");
    let made = spec.root.upper.clone();
    for (no_new_privileges, expected) in [(false, "0\n"), (true, "must be suid")] {
        spec = bed.spec_on(
            vec![made.clone(), bed.base()],
            &[
                "/suid/busybox",
                "su",
                "-s",
                "/bin/sh",
                "-c",
                "id -u",
                "root",
            ],
        );
        spec.user = "nobody".into();
        spec.no_new_privileges = no_new_privileges;
        let ran = bed.run(&spec);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(text.contains(expected), "{ran:?}");
    }
}

fn host_paths_are_hidden(bed: &Bed) {
    let spec = bed.shell(
        "for p in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do test -e $p && wc -c <$p; done; \
         for d in /proc/acpi /proc/scsi /proc/asound /sys/firmware; do test -e $d && ls $d; done; \
         echo b >/proc/sysrq-trigger; echo x >/proc/sys/kernel/core_pattern; echo 1 >/sys/kernel/mm/ksm/run; \
         touch /sys/firmware/x; mkdir /sys/fs/cgroup/x; echo end",
    );
    let ran = bed.run(&spec);
    assert_eq!(ran.exit, StepExit::Code(0));
    let bytes: Vec<&str> = ran.stdout.lines().collect();
    assert!(
        bytes.iter().all(|line| *line == "0" || *line == "end"),
        "{ran:?}"
    );
    for line in ran.stderr.lines() {
        let refused = [
            "Read-only",
            "ermission denied",
            "nonexistent",
            "No such file",
            "not permitted",
        ];
        assert!(refused.iter().any(|word| line.contains(word)), "{line}");
    }
    assert!(
        ran.stderr.matches("Read-only file system").count() >= 3,
        "{ran:?}"
    );
}

fn insecure_hides_nothing(bed: &Bed) {
    let mut spec = bed
        .shell("mkdir /m; mount -t tmpfs none /m && echo mounted; grep Seccomp: /proc/self/status");
    spec.security = Security::Insecure;
    let text = bed.text(&spec);
    assert!(text.starts_with("mounted\n"), "{text}");
    let filtered = !bed.has_many_ids() || old::is_old();
    assert_eq!(text.contains("Seccomp:\t2"), filtered, "{text}");
}

fn devices_are_few_unless_insecure(bed: &Bed) {
    let list = "cd /dev && find . ! -type d ! -type l | grep -v ^./pts | sort | tr '\\n' ' '";
    let usual = "./full ./null ./random ./tty ./urandom ./zero ";
    let mut spec = bed.shell(list);
    assert_eq!(bed.text(&spec), usual);
    spec = bed.shell(list);
    spec.security = Security::Insecure;
    let found = bed.text(&spec);
    if !bed.is_root() {
        assert_eq!(found, usual, "a user namespace may use no others");
        return;
    }
    for node in [
        "kmsg",
        "cuse",
        "fuse",
        "kvm",
        "net/tun",
        "loop-control",
        "loop0",
        "loop7",
    ] {
        assert!(found.contains(&format!("./{node} ")), "{node}: {found}");
    }
    spec = bed.shell("head -c 0 /dev/kmsg && stat -c '%t:%T %a' /dev/fuse /dev/loop3 /dev/net/tun");
    spec.security = Security::Insecure;
    assert_eq!(bed.text(&spec), "a:e5 666\n7:3 666\na:c8 666\n");
}

fn descriptors_of_the_engine_do_not_leak(bed: &Bed) {
    use std::os::fd::AsFd;
    let open = fs::File::open("/").unwrap();
    // A library host that forgets close-on-exec.
    rustix::io::fcntl_setfd(open.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let other = Bed::new(bed.mode.clone());
    let spec = other.spec_on(vec![other.base()], &["/bin/ls", "/proc/self/fd"]);
    // The last is the directory that is being listed.
    assert_eq!(
        other.text(&spec),
        "0
1
2
3
"
    );
}

fn old_root_is_gone(bed: &Bed) {
    let spec = bed.shell(
        "grep -c '' /proc/self/mountinfo; awk '$5==\"/\"' /proc/self/mountinfo | wc -l; ls -d /..",
    );
    let text = bed.text(&spec);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "1", "one root only: {text}");
    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let device = |line: &str| line.split(' ').nth(2).map(str::to_owned);
    let root = host
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"))
        .and_then(device);
    let spec = bed.shell("awk '{print $3}' /proc/self/mountinfo");
    let inside = bed.text(&spec);
    let root = root.unwrap();
    assert!(
        !inside.lines().any(|line| line == root),
        "the host's root is mounted inside"
    );
}

/// What this binary does when a step gets to execute it through `/proc/self/exe`.
///
/// It tries what an attacker would, to open itself for writing, and looks at the mount it runs from: while
/// any process runs it, it is busy anyway; the mount must be read-only for good.
pub fn as_interpreter(arguments: &[String]) -> Option<ExitCode> {
    arguments
        .iter()
        .find(|argument| argument.ends_with("/overwrite-me"))?;
    match fs::OpenOptions::new().write(true).open("/proc/self/exe") {
        Ok(_) => println!("opened"),
        Err(_) => println!("refused"),
    }
    let flags = rustix::fs::statvfs("/proc/self/exe").unwrap().f_flag;
    println!("{flags:?}");
    Some(ExitCode::SUCCESS)
}

fn own_binary_cannot_be_overwritten(bed: &Bed) {
    let top = bed.dir("top");
    fs::write(top.join("overwrite-me"), "#!/proc/self/exe\n").unwrap();
    chmod(&top.join("overwrite-me"), 0o755);
    let mut spec = bed.spec_on(vec![top, bed.base()], &["/overwrite-me"]);
    // The loader and libraries of this dynamically linked binary; an attacker brings his own.
    for directory in ["/lib", "/lib64"] {
        if let Ok(real) = fs::canonicalize(directory) {
            let mut library = mount(directory, MountSource::Dir(real));
            library.read_only = true;
            spec.mounts.push(library);
        }
    }
    let text = bed.text(&spec);
    assert!(text.starts_with("refused\n"), "{text}");
    // Older kernels cannot make the mount; the sealed copy in memory refuses by itself.
    assert!(text.contains("RDONLY") || old::is_old(), "{text}");
}
