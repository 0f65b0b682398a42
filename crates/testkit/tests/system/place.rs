//! A context, a store and a base image to build with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rbuild_testkit::{Finished, TempDir, Tree, busybox_layout, rbuild_binary, run};

/// Far longer than any build here takes, so that a hang fails instead of blocking.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Directories of one test; all vanish with it.
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// Returns a place whose context holds this Dockerfile only.
    pub fn new(dockerfile: &str) -> Self {
        let place = Self {
            dir: TempDir::new(),
        };
        fs::create_dir(place.context()).expect("make the context");
        place.write("Dockerfile", dockerfile);
        place
    }

    /// Returns a place with a Dockerfile and more files in the context.
    pub fn with(dockerfile: &str, tree: Tree) -> Self {
        let place = Self::new(dockerfile);
        tree.write_to(place.context());
        place
    }

    /// Writes a file of the context.
    pub fn write(&self, path: &str, content: &str) {
        Tree::new().file(path, content).write_to(self.context());
    }

    /// Returns the folder around context and store, for other files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the build context.
    pub fn context(&self) -> PathBuf {
        self.dir.join("context")
    }

    /// Returns the root of the store.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Returns `rbuild` with these words, working in this place's store.
    pub fn rbuild(&self, words: &[&str]) -> Command {
        let mut command = Command::new(rbuild_binary());
        command
            .env_remove("RBUILD_ROOT")
            .arg("--root")
            .arg(self.store())
            .args(words);
        command.current_dir(&self.dir);
        command
    }

    /// Returns `rbuild build` of the context with these words more; `busybox` is mapped to a layout.
    pub fn build_command(&self, words: &[&str]) -> Command {
        let mut command = self.rbuild(&["build", "--progress", "plain", "--build-context"]);
        command.arg(format!("busybox=oci-layout://{}", busybox().display()));
        command.args(words).arg(self.context());
        command
    }

    /// Builds and returns how it went.
    pub fn build(&self, words: &[&str]) -> Finished {
        run(&mut self.build_command(words), LIMIT)
    }

    /// Runs `rbuild` with these words.
    pub fn run(&self, words: &[&str]) -> Finished {
        run(&mut self.rbuild(words), LIMIT)
    }

    /// Panics unless the store verifies and nothing half-made is in it.
    #[track_caller]
    pub fn assert_intact(&self) {
        if !self.store().exists() {
            return; // nothing was begun
        }
        self.run(&["store", "verify"]).expect_success();
        let left: Vec<_> = fs::read_dir(self.store().join("stage"))
            .expect("a store has a folder for staged things")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert!(left.is_empty(), "left in the stage: {left:?}");
    }
}

/// Returns the names of the steps that were found in the cache; bases do not count.
pub fn cached_steps(done: &Finished) -> Vec<String> {
    let text = done.text();
    let numbered = || {
        text.lines()
            .filter_map(|line| line.strip_prefix('#')?.split_once(' '))
    };
    let name = |number| numbered().find(|(n, _)| *n == number).map(|(_, name)| name);
    let is_base = |name: &str| name.contains("] FROM ") || name.starts_with("[context ");
    numbered()
        .filter(|(_, word)| *word == "CACHED")
        .filter_map(|(number, _)| name(number))
        .filter(|name| !is_base(name))
        .map(str::to_owned)
        .collect()
}

/// Returns an OCI layout with busybox, made once for all tests.
pub fn busybox() -> &'static Path {
    static LAYOUT: OnceLock<PathBuf> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        // Kept between runs: the digest depends on busybox alone.
        let layout =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("busybox-{}", std::process::id()));
        busybox_layout(&layout);
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("busybox");
        if kept.exists() || fs::rename(&layout, &kept).is_err() {
            fs::remove_dir_all(&layout).expect("remove the second layout");
        }
        kept
    })
}

/// Returns the text that `rbuild run` of `image` with a shell script prints.
#[track_caller]
pub fn shell_in(place: &Place, image: &str, script: &str) -> String {
    place
        .run(&["run", image, "sh", "-c", script])
        .expect_success()
        .stdout
}
