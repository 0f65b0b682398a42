//! Running `git` with nothing of the user's around it.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use rbuild_graph::GitOp;
use rbuild_registry::without_credentials;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::GitConfig;
use super::guard::Guard;
use super::network::Network;
use crate::http::RemoteContext;
use crate::{AgentSocket, Error, Result};

/// Most output that is kept of one run, in bytes; what comes after is read and dropped.
const OUTPUT_LIMIT: usize = 64 << 20;

/// `PATH` where the configuration has none.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Settings of every run. Nothing of a repository may start a program or reach a local file.
const SETTINGS: [(&str, &str); 16] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("core.logAllRefUpdates", "false"),
    ("credential.helper", ""),
    ("init.defaultBranch", "master"),
    ("init.templateDir", ""),
    ("advice.detachedHead", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    // A server that sends nothing for a minute is given up.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
];

/// The file with these settings, in git's home. Logins are never in it.
const SETTINGS_FILE: &str = "settings";

/// `git`, ready to be run for one repository.
pub(super) struct Git<'a> {
    config: &'a GitConfig,
    /// An empty directory of ours: git's home.
    home: PathBuf,
    settings: Vec<(String, String)>,
    ssh: String,
    agent: Option<Box<dyn AgentSocket>>,
    network: Network,
    cx: &'a RemoteContext<'a>,
}

/// Why a run failed.
pub(super) enum Failed {
    /// It said why on standard error.
    Said(String),
    /// It could not be run at all, or was stopped.
    Other(Error),
}

impl Failed {
    /// The error, made of what git said.
    pub(super) fn named(self, make: impl FnOnce(&str) -> Error) -> Error {
        match self {
            Failed::Said(said) => make(&said),
            Failed::Other(error) => error,
        }
    }
}

impl<'a> Git<'a> {
    /// Makes git's home below `dir`, a staged directory.
    pub(super) fn new(
        (config, network): (&'a GitConfig, Network),
        dir: &Path,
        op: &GitOp,
        cx: &'a RemoteContext<'a>,
    ) -> Result<Git<'a>> {
        let home = dir.join("home");
        fs::create_dir(&home).map_err(start)?;
        // For submodules: git takes the settings of the environment away from what it starts there.
        fs::write(home.join(SETTINGS_FILE), settings_file()).map_err(start)?;
        let mut settings: Vec<_> = SETTINGS
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        settings.extend(login(op, cx));
        Ok(Git {
            config,
            ssh: ssh_command(config, &home),
            home,
            settings,
            agent: cx.keyring.agent("default")?,
            network,
            cx,
        })
    }

    /// Runs git to its end; returns what it printed.
    ///
    /// Stopped with all that it started once the build is cancelled.
    pub(super) fn run(&self, words: &[&str], work: Option<&Path>) -> Result<String, Failed> {
        self.cx
            .cancel
            .check()
            .map_err(|_| Failed::Other(Error::Cancelled))?;
        let guard = Guard::start().map_err(|e| Failed::Other(start(e)))?;
        let mut command = self.command();
        command.process_group(guard.group().as_raw_nonzero().get());
        if let Some(work) = work {
            command.arg("-C").arg(work);
        }
        command.args(words);
        let mut child = command.spawn().map_err(|e| Failed::Other(start(e)))?;
        let stdout = child.stdout.take().map(drain);
        let stderr = child.stderr.take().map(drain);
        let ended = self.wait(&child);
        // Also what it left behind, which may hold the pipes open. Before the child is reaped, so that
        // its number cannot be another's yet.
        kill_process_group(guard.group(), Signal::KILL).ok();
        let status = child.wait().map_err(|e| Failed::Other(start(e)))?;
        match ended {
            Ok(true) => {}
            Ok(false) => return Err(Failed::Other(Error::Cancelled)),
            Err(e) => return Err(Failed::Other(start(e))),
        }
        let [out, said] = [stdout, stderr].map(|pipe| {
            let bytes = pipe.and_then(|thread| thread.join().ok());
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        });
        match status.success() {
            true => Ok(out),
            false => Err(Failed::Said(self.network.without_passwords(said.trim()))),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.config.program);
        let path = self.config.path.clone();
        command
            .env_clear()
            .env("PATH", path.unwrap_or_else(|| USUAL_PATH.into()))
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", &self.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.home.join(SETTINGS_FILE))
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS_REQUIRE", "never")
            // Neither files of this machine nor programs that a submodule's address names.
            .env("GIT_ALLOW_PROTOCOL", "http:https:ssh:git")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_SSH_COMMAND", &self.ssh)
            .env("GIT_SSH_VARIANT", "ssh")
            // By the environment: a header in an argument could be read by every user.
            .env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (at, (key, value)) in self.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        if let Some(agent) = &self.agent {
            command.env("SSH_AUTH_SOCK", agent.path());
        }
        command
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.envs(&self.network.env);
        command
    }

    /// Waits for the child or the token; `true` if it was the child.
    fn wait(&self, child: &Child) -> io::Result<bool> {
        let pid = Pid::from_child(child);
        let ended = pidfd_open(pid, PidfdFlags::empty())?;
        let cancelled = self.cx.cancel.as_fd();
        let mut fds = [
            PollFd::new(&ended, PollFlags::IN),
            PollFd::from_borrowed_fd(cancelled.as_fd(), PollFlags::IN),
        ];
        loop {
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            if fds[1].revents().contains(PollFlags::IN) {
                return Ok(false);
            }
            if !fds[0].revents().is_empty() {
                return Ok(true);
            }
        }
    }
}

fn settings_file() -> String {
    let line = |(key, value): &(&str, &str)| {
        let (section, name) = key.split_once('.').unwrap_or((key, ""));
        format!("[{section}]\n\t{name} = \"{value}\"\n")
    };
    SETTINGS.iter().map(line).collect()
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 1 << 14];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            let room = OUTPUT_LIMIT.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..n.min(room)]);
        }
        kept
    })
}

/// Batch mode: no questions. A server that no file knows is believed, a changed key never. The user's own
/// keys are not tried: a build has what `--ssh` gives it.
fn ssh_command(config: &GitConfig, home: &Path) -> String {
    let quoted = |path: &Path| format!("\"{}\"", path.display());
    let mut files = vec![quoted(&home.join("known_hosts"))];
    files.extend(config.known_hosts.iter().map(|path| quoted(path)));
    format!(
        "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o StrictHostKeyChecking=accept-new \
         -o 'UserKnownHostsFile={}' -o ConnectTimeout=30",
        files.join(" ")
    )
}

/// A header for the repository's own server, from the build's secrets.
fn login(op: &GitOp, cx: &RemoteContext<'_>) -> Option<(String, String)> {
    use base64::Engine as _;
    let shown = without_credentials(&op.remote);
    let (scheme, rest) = shown.split_once("://")?;
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let host = rest.split('/').next()?;
    let ask = |name: String| {
        let bytes = cx.keyring.secret(&name)?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    let header = |name: &str| ask(format!("GIT_AUTH_HEADER{name}"));
    let token = |name: &str| {
        let token = ask(format!("GIT_AUTH_TOKEN{name}"))?;
        let plain = format!("x-access-token:{token}");
        let encoded = base64::engine::general_purpose::STANDARD.encode(plain);
        Some(format!("basic {encoded}"))
    };
    let own = format!(".{host}");
    let found = header(&own)
        .or_else(|| token(&own))
        .or_else(|| header(""))
        .or_else(|| token(""))?;
    Some((
        format!("http.{scheme}://{host}/.extraheader"),
        format!("Authorization: {found}"),
    ))
}

fn start(source: io::Error) -> Error {
    Error::GitStart { source }
}
