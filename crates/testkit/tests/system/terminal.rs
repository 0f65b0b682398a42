//! `rbuild run -it`: a terminal whose name is good inside, and whose size follows the user's.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rbuild_testkit::{Privilege, granted, need_tool};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::place::Place;

/// The user's terminal: our side, and the one that programs get.
fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags).expect("open a terminal");
    grantpt(&ours).expect("grant it");
    unlockpt(&ours).expect("unlock it");
    let theirs = ioctl_tiocgptpeer(&ours, flags).expect("open its other side");
    (ours, theirs)
}

fn resize(terminal: &OwnedFd, (rows, columns): (u16, u16)) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("set a size");
}

/// Reads until `text` ends with `end`; at the end of the stream returns what there is.
fn read_until(from: &mut File, text: &mut String, end: &str) {
    let mut byte = [0];
    while !text.ends_with(end) {
        // EIO: nobody has the other side open any more.
        match from.read(&mut byte) {
            Ok(1) => text.push(char::from(byte[0])),
            _ => return,
        }
    }
}

#[test]
fn terminal_has_a_name_and_follows_the_size() {
    if !granted(Privilege::Root) {
        return;
    }
    let place = Place::new("FROM busybox\n");
    place.build(&["-t", "shell"]).expect_success();
    let (ours, theirs) = terminal();
    resize(&ours, (31, 101));
    let script =
        "tty; stty size; trap 'stty size; exit 3' WINCH; echo ready; sleep 60 & wait; wait";
    let run = place.rbuild(&["run", "-it", "shell", "sh", "-c", script]);
    // A session whose controlling terminal is ours, so that a new size is a signal for `rbuild`.
    let mut command = Command::new(need_tool("setsid"));
    command.args(["--ctty", "--wait"]);
    command.arg(run.get_program()).args(run.get_args());
    let side = || Stdio::from(theirs.try_clone().expect("duplicate"));
    let mut child = command
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .spawn()
        .expect("start it");
    drop((command, theirs));
    let mut screen = File::from(ours.try_clone().expect("duplicate"));
    let mut text = String::new();
    read_until(&mut screen, &mut text, "ready\r\n");
    assert_eq!(text, "/dev/pts/0\r\n31 101\r\nready\r\n");
    resize(&ours, (17, 55));
    read_until(&mut screen, &mut text, "17 55\r\n");
    assert!(text.ends_with("ready\r\n17 55\r\n"), "{text}");
    assert_eq!(child.wait().expect("wait for it").code(), Some(3));
}
