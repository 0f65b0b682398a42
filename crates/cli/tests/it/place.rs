//! A context and a store for the real command.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rbuild_testkit::{Finished, TempDir, Tree, run};

/// Longer than any of these builds takes.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A store and a context.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    pub fn new(dockerfile: &str) -> Self {
        let dir = TempDir::new();
        Tree::new()
            .file("context/Dockerfile", dockerfile)
            .file("context/a.txt", "hello\n")
            .write_to(dir.path());
        Self { dir }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rbuild"));
        command
            .args(words)
            .current_dir(self.dir.path())
            .env_clear()
            .env("RBUILD_ROOT", self.dir.path().join("store"));
        command
    }

    pub fn rbuild(&self, words: &[&str]) -> Finished {
        run(&mut self.command(words), LIMIT)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }
}

/// A Dockerfile without RUN.
pub const COPY: &str = "FROM scratch\nCOPY a.txt /\nCMD [\"/a\"]\n";
