//! A real ssh server with git repositories behind it, in network and mount namespaces of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::temp::TempDir;
use crate::tool::need_tool;

/// Time for a server or an agent to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on port 22 of a loopback interface that only it and [`SshServer::inside`] see.
///
/// Its user is `git`; no account of the machine is touched. Needs root.
pub struct SshServer {
    dir: TempDir,
    daemon: Child,
}

impl SshServer {
    /// Starts one that takes the public keys of these files, each `FILE.pub`.
    pub fn start(keys: &[&Path]) -> Self {
        let dir = TempDir::new();
        make_key(&dir.join("host"), &["-t", "ed25519"]);
        let authorized: String = keys.iter().map(|key| public_half(key)).collect();
        fs::write(dir.join("authorized"), authorized).expect("write the keys that may enter");
        accounts(&dir);
        fs::write(dir.join("config"), config(&dir)).expect("write the settings");
        let home = dir.display();
        let setup = format!(
            "busybox ip link set lo up && mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && \
             mount --bind '{home}/passwd' /etc/passwd && mount --bind '{home}/shadow' /etc/shadow && \
             exec '{}' -D -e -f '{home}/config'",
            need_tool("sshd").display()
        );
        need_tool("busybox");
        let log = fs::File::create(dir.join("log")).expect("make the log");
        let daemon = Command::new(need_tool("unshare"))
            .args(["--net", "--mount", "sh", "-c", &setup])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start the ssh server");
        let mut server = Self { dir, daemon };
        server.wait_until_it_listens();
        server
    }

    fn wait_until_it_listens(&mut self) {
        let limit = Instant::now() + PATIENCE;
        let log = self.dir.join("log");
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains("Server listening") {
                return;
            }
            let ended = self.daemon.try_wait().expect("look after the server");
            assert!(ended.is_none(), "the ssh server ended: {said}");
            assert!(Instant::now() < limit, "the ssh server hangs: {said}");
            std::thread::yield_now();
        }
    }

    /// The same command where the server can be reached, and its accounts are seen.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new(need_tool("nsenter"));
        let target = self.daemon.id().to_string();
        let dir = command.get_current_dir().unwrap_or(Path::new("/"));
        let dir = format!("--wdns={}", dir.display());
        inside.args(["--target", &target, "--net", "--mount", &dir, "--"]);
        inside.arg(command.get_program());
        inside.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// The home of root, as the accounts behind [`SshServer::inside`] have it.
    pub fn home_of_root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The line of a known-hosts file for this server's key.
    pub fn known_host(&self) -> String {
        let key = public_half(&self.dir.join("host"));
        format!("{} {key}", SocketAddr::from((Ipv4Addr::LOCALHOST, 22)).ip())
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        // Sessions end with the connections, and those with their clients.
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

/// The machine's accounts, root with another home, and the user that clients log in as.
fn accounts(dir: &TempDir) {
    let home = dir.display();
    fs::create_dir(dir.join("root")).expect("make a home");
    let passwd = format!(
        "root:x:0:0::{home}/root:/bin/sh\ngit:x:0:0::{home}:/bin/sh\n\
         sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    );
    fs::write(dir.join("passwd"), passwd).expect("write the accounts");
    fs::write(
        dir.join("shadow"),
        "root:*:1::::::\ngit:*:1::::::\nsshd:*:1::::::\n",
    )
    .expect("write the accounts");
}

fn config(dir: &TempDir) -> String {
    let home = dir.display();
    format!(
        "ListenAddress 127.0.0.1\nPort 22\nHostKey {home}/host\nPidFile none\n\
         AuthorizedKeysFile {home}/authorized\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nLogLevel VERBOSE\nPrintMotd no\n"
    )
}

/// Makes a pair of keys without a passphrase: `path` and `path.pub`.
pub fn make_key(path: &Path, options: &[&str]) {
    let made = Command::new(need_tool("ssh-keygen"))
        .args(["-q", "-N", "", "-C", "of a test", "-f"])
        .arg(path)
        .args(options)
        .status();
    assert!(made.expect("start ssh-keygen").success());
}

fn public_half(key: &Path) -> String {
    let path = PathBuf::from(format!("{}.pub", key.display()));
    fs::read_to_string(path).expect("read the public half of a key")
}

/// An ssh agent that runs as long as the value lives.
pub struct Agent {
    dir: TempDir,
    program: Child,
}

impl Agent {
    /// Starts one that has this key.
    pub fn start(key: &Path) -> Self {
        let dir = TempDir::new();
        let socket = dir.join("socket");
        let program = Command::new(need_tool("ssh-agent"))
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("start ssh-agent");
        let agent = Self { dir, program };
        let limit = Instant::now() + PATIENCE;
        // The socket is there a moment before anybody listens at it.
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < limit, "ssh-agent does not listen");
            std::thread::yield_now();
        }
        // Keys that others could read are not taken.
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("close the key");
        let added = Command::new(need_tool("ssh-add"))
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &socket)
            .status();
        assert!(added.expect("start ssh-add").success());
        agent
    }

    /// Where it answers.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.program.kill().ok();
        self.program.wait().ok();
    }
}
