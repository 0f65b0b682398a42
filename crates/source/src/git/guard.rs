//! A process beside git that ends it, and all that it started, once this process is gone, however it went.
//!
//! The signal at a parent's death would reach git alone: the helper that speaks to the server would go on
//! for as long as the server keeps it waiting.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

const SHELL: &str = "/bin/sh";
/// Standard input is a pipe that ends with the process at its other end. `0` is the own group.
const SCRIPT: &str = "read -r _; kill -KILL 0";

/// Leader of a process group that dies with this value, and with this process.
#[must_use = "dropping it ends the group"]
pub(super) struct Guard {
    leader: Child,
}

impl Guard {
    pub(super) fn start() -> io::Result<Self> {
        let leader = Command::new(SHELL)
            .args(["-c", SCRIPT])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { leader })
    }

    /// The group, for programs that are to be in it.
    pub(super) fn group(&self) -> Pid {
        Pid::from_child(&self.leader)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Before the leader is reaped, so that its number cannot be another's yet.
        kill_process_group(self.group(), Signal::KILL).ok();
        self.leader.wait().ok();
    }
}
