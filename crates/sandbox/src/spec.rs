//! What to run and on which root: plain data that crosses to the nursery.
//!
//! Every path is absolute and is read in the host's view; every `target`, `cwd` and `user` is read in the
//! step's own root. Nothing here opens, checks or mounts.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One process and everything it may see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepSpec {
    /// Program and arguments, never empty; a program without a slash is looked up in the step's `PATH`.
    pub args: Vec<String>,
    /// Environment in order; a later pair replaces an earlier one of the same name. `PATH` and `HOME` are
    /// added when absent.
    pub env: Vec<(String, String)>,
    /// Working directory inside the root, absolute; made (0755, owned by the user) when missing.
    pub cwd: String,
    /// `""` (root), `user`, `user:group`, by name or number, looked up in the image's own files.
    pub user: String,
    /// Host name that the step sees; also entered in `/etc/hosts`.
    pub hostname: String,
    /// Which network the step reaches.
    pub network: Network,
    /// How much the step may do.
    pub security: Security,
    /// The root file system.
    pub root: RootSpec,
    /// Further mounts; attached in order of path depth, so a parent comes before what lies in it.
    pub mounts: Vec<MountSpec>,
    /// Further lines of `/etc/hosts`, as (address, name).
    pub hosts: Vec<(String, String)>,
    /// Size of `/dev/shm` in bytes; 0 is the default of 64 MiB.
    pub shm_size: u64,
    /// Resource limits that differ from the inherited ones.
    pub ulimits: Vec<Ulimit>,
    /// Sets `no_new_privs`, so that set-id programs do not raise privilege.
    pub no_new_privileges: bool,
    /// Limits kept by a cgroup; none by default.
    pub limits: Limits,
}

/// Which network a step reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// What an instruction gets that asks for nothing: the host's network namespace.
    Default,
    /// An own network namespace that holds only the loopback device.
    None,
    /// The host's network namespace, asked for by name.
    Host,
}

/// How much a step may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Docker's default capabilities and system call filter; parts of `/proc` and `/sys` hidden.
    Sandbox,
    /// Every capability the nursery has, no filter, nothing hidden. Granted on the command line only.
    Insecure,
}

/// The layers a root is mounted from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RootSpec {
    /// Directories of the lower layers, **top first**; may be empty.
    pub lowers: Vec<PathBuf>,
    /// Empty directory that receives what the step changes.
    pub upper: PathBuf,
    /// Empty directory for overlayfs' own use, on the same file system as `upper`. Its *parent* receives
    /// the stub layer (a directory `stub-…`) when mount targets are missing; whoever removes that parent
    /// removes the stub layer.
    pub work: PathBuf,
}

/// Something mounted inside the root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountSpec {
    /// Where, absolute in the root; missing targets are provided without a trace in the upper.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// Whether writing through this mount fails.
    pub read_only: bool,
}

/// What a mount shows.
#[derive(Clone, Serialize, Deserialize)]
pub enum MountSource {
    /// A directory, file or socket of the host. The path is followed as it is: for a path inside something
    /// that a step can write, take [`MountSource::Within`].
    Dir(PathBuf),
    /// A path inside a directory of the host whose contents are not to be trusted, a cache for one.
    Within {
        /// The directory.
        directory: PathBuf,
        /// Device and inode that it must have, if its path leads through what others can change.
        inode: Option<(u64, u64)>,
        /// Absolute path inside it, symlinks resolved there, whoever exchanges them meanwhile.
        subpath: String,
    },
    /// A path inside a stack of layers.
    Overlay {
        /// Directories of the layers, top first; may be empty.
        lowers: Vec<PathBuf>,
        /// Absolute path inside the stack, symlinks resolved there; `/` for all of it.
        subpath: String,
        /// Empty upper and work directories that take the writes; without them the mount is read-only.
        upper: Option<(PathBuf, PathBuf)>,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Size in bytes; the kernel's default (half of the memory) when absent.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
    },
    /// A socket that was made for this step: it gets the owner and mode that the step is to see.
    Socket {
        /// Where it is; its last component is not followed.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner as the step sees it.
        uid: u32,
        /// Group as the step sees it.
        gid: u32,
    },
    /// A file in memory that holds these bytes: a secret.
    File {
        /// The contents; never printed.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner as the step sees it.
        uid: u32,
        /// Group as the step sees it.
        gid: u32,
    },
}

impl fmt::Debug for MountSource {
    /// Prints a secret's length, never its bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => f.debug_tuple("Dir").field(path).finish(),
            Self::Within {
                directory,
                inode,
                subpath,
            } => f
                .debug_struct("Within")
                .field("directory", directory)
                .field("inode", inode)
                .field("subpath", subpath)
                .finish(),
            Self::Overlay {
                lowers,
                subpath,
                upper,
            } => f
                .debug_struct("Overlay")
                .field("lowers", lowers)
                .field("subpath", subpath)
                .field("upper", upper)
                .finish(),
            Self::Tmpfs { size, mode } => f
                .debug_struct("Tmpfs")
                .field("size", size)
                .field("mode", mode)
                .finish(),
            Self::Socket { path, mode, .. } => f
                .debug_struct("Socket")
                .field("path", path)
                .field("mode", mode)
                .finish_non_exhaustive(),
            Self::File { bytes, mode, .. } => f
                .debug_struct("File")
                .field("bytes", &bytes.len())
                .field("mode", mode)
                .finish_non_exhaustive(),
        }
    }
}

/// One resource limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Docker's name of the resource in lower case: `nofile`, `nproc`, `core`, …
    pub name: String,
    /// Soft limit; -1 is unlimited.
    pub soft: i64,
    /// Hard limit; -1 is unlimited.
    pub hard: i64,
}

/// Limits kept by a cgroup. All absent: no cgroup is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together in bytes, as Docker's `--memory-swap`.
    pub memory_swap: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
    /// Microseconds of CPU time per period.
    pub cpu_quota_us: Option<u64>,
    /// Length of the period in microseconds; 100 000 when absent.
    pub cpu_period_us: Option<u64>,
    /// Relative weight as Docker's `--cpu-shares` (2 … 262144).
    pub cpu_shares: Option<u64>,
    /// CPUs the step may use, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes the step may use.
    pub cpuset_mems: Option<String>,
}

impl Limits {
    /// Tells whether no limit is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepExit {
    /// By itself, with this exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Killed because its cgroup's memory limit was reached (known only where `limits` made a cgroup).
    OutOfMemory,
}

impl StepExit {
    /// Returns the exit code that a shell would report: 128 + signal, 137 when out of memory.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::OutOfMemory => 137,
        }
    }
}
