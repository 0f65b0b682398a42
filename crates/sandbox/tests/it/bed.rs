//! What the tests run in: a nursery, a busybox tree as base, and a fresh upper per step.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rbuild_progress::{CancelToken, Stream};
use rbuild_sandbox::{
    Error, Limits, MountSource, MountSpec, Network, Nursery, NurseryConfig, NurseryMode, RootSpec,
    Security, StepExit, StepIo, StepSpec,
};
use rbuild_testkit::{TempDir, busybox_rootfs};

/// A nursery and its files.
pub struct Bed {
    pub nursery: Nursery,
    pub mode: NurseryMode,
    pub temp: TempDir,
    next: AtomicU32,
}

/// What a step printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub exit: StepExit,
    pub stdout: String,
    pub stderr: String,
    /// Where its changes are.
    pub upper: PathBuf,
}

impl Bed {
    pub fn new(mode: NurseryMode) -> Self {
        let temp = TempDir::new();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let base = temp.path().join("base");
        fs::create_dir(&base).unwrap();
        busybox_rootfs(&base);
        let nursery = Nursery::start(&NurseryConfig {
            helper: "/proc/self/exe".into(),
            mode: mode.clone(),
        })
        .unwrap();
        Self {
            nursery,
            mode,
            temp,
            next: AtomicU32::new(0),
        }
    }

    pub fn is_root(&self) -> bool {
        self.mode == NurseryMode::Root
    }

    /// Tells whether files can have any owner but one.
    pub fn has_many_ids(&self) -> bool {
        self.mode != NurseryMode::SingleId
    }

    pub fn base(&self) -> PathBuf {
        self.temp.path().join("base")
    }

    /// Makes a fresh directory.
    pub fn dir(&self, name: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.temp.path().join(format!("{name}-{number}"));
        fs::create_dir(&path).unwrap();
        path
    }

    /// Makes the spec of a step over `lowers`, top first.
    pub fn spec_on(&self, lowers: Vec<PathBuf>, args: &[&str]) -> StepSpec {
        let stage = self.dir("stage");
        let make = |name: &str| {
            let path = stage.join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        StepSpec {
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: Vec::new(),
            cwd: "/".into(),
            user: String::new(),
            hostname: "buildkitsandbox".into(),
            network: Network::Default,
            security: Security::Sandbox,
            root: RootSpec {
                lowers,
                upper: make("upper"),
                work: make("work"),
            },
            mounts: Vec::new(),
            hosts: Vec::new(),
            shm_size: 0,
            ulimits: Vec::new(),
            no_new_privileges: false,
            limits: Limits::default(),
        }
    }

    /// Makes the spec of a shell script over the base.
    pub fn shell(&self, script: &str) -> StepSpec {
        self.spec_on(vec![self.base()], &["/bin/sh", "-c", script])
    }

    /// Runs a step.
    pub fn try_run(&self, spec: &StepSpec) -> Result<Ran, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut on_output = |stream, bytes: &[u8]| match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
        };
        let io = StepIo::Output {
            on_output: &mut on_output,
        };
        let exit = self.nursery.run_step(spec, io, &CancelToken::new())?;
        Ok(Ran {
            exit,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            upper: spec.root.upper.clone(),
        })
    }

    /// Runs a step that must start.
    #[track_caller]
    pub fn run(&self, spec: &StepSpec) -> Ran {
        match self.try_run(spec) {
            Ok(ran) => ran,
            Err(error) => panic!("{error}: {:?}", spec.args),
        }
    }

    /// Runs a script that must succeed, and returns what it printed on both streams.
    #[track_caller]
    pub fn text(&self, spec: &StepSpec) -> String {
        let ran = self.run(spec);
        assert_eq!(ran.exit, StepExit::Code(0), "{ran:?}");
        format!("{}{}", ran.stdout, ran.stderr)
    }

    /// Lists everything below a directory, as the nursery's rights are not needed for names.
    pub fn names(dir: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let mut ahead = vec![dir.to_owned()];
        while let Some(here) = ahead.pop() {
            for entry in fs::read_dir(&here).unwrap() {
                let entry = entry.unwrap();
                let path = entry.path();
                names.push(path.strip_prefix(dir).unwrap().display().to_string());
                if entry.file_type().unwrap().is_dir() {
                    ahead.push(path);
                }
            }
        }
        names.sort();
        names
    }

    /// Returns the lines of this process' mount table that speak of the bed.
    pub fn attached_mounts(&self) -> Vec<String> {
        let needle = self.temp.path().to_string_lossy().into_owned();
        fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter(|line| line.contains(&needle))
            .map(str::to_owned)
            .collect()
    }
}

/// Makes a mount.
pub fn mount(target: &str, source: MountSource) -> MountSpec {
    MountSpec {
        target: target.into(),
        source,
        read_only: false,
    }
}
