//! A user who is not root: accounts and grants that only the processes of one test see.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use rbuild_testkit::{TempDir, need_tool, rbuild_binary};

use crate::place::busybox;

/// An id that no real account is likely to have.
const ID: u32 = 47_113;

/// Whether the user has ranges of subordinate ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// 65536 ids for users and groups.
    Ranges,
    /// Nothing but the user's own id.
    Nothing,
}

/// A home with the program and a base image in it, and account files that name its owner.
pub struct User {
    home: TempDir,
}

impl User {
    /// Makes the home; needs root.
    pub fn new(grant: Grant) -> Self {
        let home = TempDir::new();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).expect("open the home");
        // The repository may lie where only root can look.
        fs::copy(rbuild_binary(), home.join("rbuild")).expect("copy the program");
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(busybox()).arg(home.join("busybox"));
        assert!(copy.status().expect("start cp").success());
        let account = format!("rbuild-test:x:{ID}:{ID}::{}:/bin/sh\n", home.display());
        let passwd = fs::read_to_string("/etc/passwd").expect("read the accounts");
        fs::write(home.join("passwd"), passwd + &account).expect("write the accounts");
        let range = match grant {
            Grant::Ranges => "rbuild-test:1000000:65536\n",
            Grant::Nothing => "",
        };
        fs::write(home.join("subid"), range).expect("write the grants");
        for dir in ["work", "run"] {
            fs::create_dir(home.join(dir)).expect("make a directory");
            chown(home.join(dir), Some(ID), Some(ID)).expect("give it away");
        }
        Self { home }
    }

    /// Returns a directory that belongs to the user.
    pub fn work(&self) -> PathBuf {
        self.home.join("work")
    }

    /// Returns a command that runs a shell script as the user, in [`User::work`], without root's rights.
    pub fn shell(&self, script: &str) -> Command {
        let home = self.home.display();
        let setup = format!(
            "mount --bind '{home}/passwd' /etc/passwd && mount --bind '{home}/subid' /etc/subuid && \
             mount --bind '{home}/subid' /etc/subgid && cd '{home}/work' && \
             exec setpriv --reuid {ID} --regid {ID} --clear-groups --inh-caps=-all sh -c \"$0\""
        );
        let mut command = Command::new(need_tool("unshare"));
        command
            .args(["--mount", "sh", "-c", &setup, script])
            .env_clear();
        command.env("PATH", format!("{home}:/usr/local/bin:/usr/bin:/bin"));
        command
            .env("HOME", self.work())
            .env("XDG_RUNTIME_DIR", self.home.join("run"));
        command.env("BASE", format!("busybox=oci-layout://{home}/busybox"));
        command
    }
}
