//! The exec op: one process over a root file system, as RUN asks for it.
//!
//! Secrets and agent sockets appear here by id only; what they hold never enters the graph.

use rbuild_oci::Platform;
use serde::{Deserialize, Serialize};

/// One process over a root file system; its changes become one new layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOp {
    /// Argument vector; not empty, save for an empty JSON form.
    pub args: Vec<String>,
    /// Environment in order, each name once.
    pub env: Vec<(String, String)>,
    /// Proxy settings, given to the process but left out of the op key.
    pub proxy_env: Vec<(String, String)>,
    /// Working directory, absolute.
    pub cwd: String,
    /// USER as written: `""`, `u` or `u:g`, names or ids, looked up in the image.
    pub user: String,
    /// Which network the process sees.
    pub network: NetworkMode,
    /// How far it is fenced in.
    pub security: SecurityMode,
    /// Host name; empty means the worker's default.
    pub hostname: String,
    /// Input that is the root file system; `None` is an empty root.
    pub base: Option<usize>,
    /// Extra mounts, in the order in which they are made.
    pub mounts: Vec<ExecMount>,
    /// Platform that the process runs as.
    pub platform: Platform,
    /// Extra lines of `/etc/hosts` as (name, address), in order; only the names are in the op key.
    pub extra_hosts: Vec<(String, String)>,
    /// Size of `/dev/shm` in bytes; 0 means the worker's default.
    pub shm_size: u64,
    /// Resource limits, in order.
    pub ulimits: Vec<Ulimit>,
}

/// Which network a process sees.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// What the worker offers to every step.
    #[default]
    Default,
    /// A loopback device only.
    None,
    /// The host's own network.
    Host,
}

/// How far a process is fenced in.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SecurityMode {
    /// Default capabilities and system call filter.
    #[default]
    Sandbox,
    /// All capabilities, no filter; needs an entitlement.
    Insecure,
}

/// One resource limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name without prefix, lower case: `nofile`.
    pub name: String,
    /// Soft limit; -1 is unlimited.
    pub soft: i64,
    /// Hard limit; -1 is unlimited.
    pub hard: i64,
}

/// One extra mount of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecMount {
    /// Where, absolute and cleaned; empty for a secret that is only an environment variable and
    /// for an agent socket whose place the worker picks.
    pub target: String,
    /// What.
    pub kind: ExecMountKind,
    /// Whether writes fail.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ExecMountKind {
    /// A path of an input; writes, where allowed, are thrown away after the step.
    Bind {
        /// Which input.
        input: usize,
        /// Path in it, absolute and cleaned; not in the op key, since the content counts.
        source: String,
    },
    /// A directory that outlives the build.
    Cache {
        /// Name of the directory.
        id: String,
        /// Whether the id was written down; then neither it nor `sharing` is in the op key.
        explicit_id: bool,
        /// Input that fills a new directory; `None` leaves it empty.
        input: Option<usize>,
        /// Path in that input, absolute and cleaned.
        source: String,
        /// Who else may use it at the same time.
        sharing: Sharing,
        /// Mode of a new directory.
        mode: Option<u32>,
        /// Owner of a new directory.
        uid: Option<u32>,
        /// Group of a new directory.
        gid: Option<u32>,
    },
    /// A fresh file system in memory.
    Tmpfs {
        /// Its size in bytes; `None` is the kernel's default.
        size: Option<u64>,
    },
    /// A secret, as a file, as an environment variable, or as both.
    Secret {
        /// Name under which the client offers it.
        id: String,
        /// File that holds it; `None` when only `env` is wanted.
        target: Option<String>,
        /// Environment variable that holds it.
        env: Option<String>,
        /// Whether the step fails when the client does not have it.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// A socket of the client's ssh agent.
    Ssh {
        /// Which agent; `default` unless said otherwise.
        id: String,
        /// Place of the socket; `None` lets the worker pick `/run/buildkit/ssh_agent.N`.
        target: Option<String>,
        /// Whether the step fails when the client forwards no such agent.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
    /// A file whose bytes are part of the op: a here-document that is run as a program.
    File {
        /// What it holds.
        bytes: Vec<u8>,
        /// Its mode.
        mode: u32,
    },
}

/// Who may use a cache directory at the same time.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Everyone.
    #[default]
    Shared,
    /// One at a time; a second one gets a fresh directory.
    Private,
    /// One at a time; a second one waits.
    Locked,
}
