//! BuildKit's own packages as a program that answers questions: fetched as Debian packages of source,
//! compiled here, never installed.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use rbuild_testkit::repository_root;
use serde_json::Value;

use crate::apt::AptConfig;
use crate::shell::{self, say, show};

/// The release that has a recent BuildKit.
const SUITE: &str = "sid";

/// BuildKit's parser comes with Docker's sources; the rest is what it needs to compile.
const PACKAGES: &[&str] = &[
    "golang-github-agext-levenshtein-dev",
    "golang-github-containerd-typeurl-dev",
    "golang-github-docker-docker-dev",
    "golang-github-docker-go-units-dev",
    "golang-github-gogo-protobuf-dev",
    "golang-github-moby-docker-image-spec-dev",
    "golang-github-moby-patternmatcher-dev",
    "golang-github-opencontainers-go-digest-dev",
    "golang-github-opencontainers-image-spec-dev",
    "golang-github-pkg-errors-dev",
    "golang-github-planetscale-vtprotobuf-dev",
    "golang-google-protobuf-dev",
];

/// What BuildKit's own frontend is compiled with.
const TAGS: &str = "dfrunsecurity,dfparents,dfexcludepatterns,dfrundevice";

/// The running program.
pub struct Oracle {
    child: Child,
    questions: Option<BufWriter<ChildStdin>>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Makes the program where it is not there yet, and starts it.
    pub fn start() -> Result<Self> {
        let program = compile()?;
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Go's scanner complains there of every NUL character, and takes it all the same.
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let questions = child.stdin.take().map(BufWriter::new);
        let answers = child.stdout.take().context("its output is piped")?;
        Ok(Self {
            child,
            questions,
            answers: BufReader::new(answers),
        })
    }

    /// Asks one question.
    pub fn ask(&mut self, question: &Value) -> Result<Value> {
        let questions = self.questions.as_mut().context("it takes questions")?;
        writeln!(questions, "{question}").context("ask the oracle")?;
        questions.flush().context("ask the oracle")?;
        let mut answer = String::new();
        self.answers
            .read_line(&mut answer)
            .context("hear the oracle")?;
        if answer.is_empty() {
            bail!("the oracle ended at {question}");
        }
        serde_json::from_str(&answer).context("read the oracle's answer")
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It ends with its input.
        self.questions = None;
        let _ = self.child.wait();
    }
}

fn compile() -> Result<PathBuf> {
    let folder = shell::target_dir().join("oracle");
    let root = folder.join("root");
    if !root.join("complete").exists() {
        unpack(&folder, &root)?;
    }
    let source = repository_root().join("xtask/oracle/main.go");
    let program = folder.join("oracle");
    let go = toolchain(&root)?;
    let mut build = Command::new(go.join("bin/go"));
    build.args(["build", "-tags", TAGS, "-o"]).arg(&program);
    build.arg(source).envs([
        ("GOROOT", go.clone()),
        ("GOPATH", root.join("usr/share/gocode")),
        ("GOCACHE", folder.join("cache")),
    ]);
    // The packages lie in a GOPATH and are all there is: nothing is fetched.
    build.envs([("GO111MODULE", "off"), ("GOTOOLCHAIN", "local")]);
    build.envs([("CGO_ENABLED", "0"), ("GOFLAGS", "")]);
    show(&mut build)?;
    Ok(program)
}

/// Returns the only Go below `root`.
fn toolchain(root: &Path) -> Result<PathBuf> {
    let lib = root.join("usr/lib");
    let entries = fs::read_dir(&lib).with_context(|| format!("list {}", lib.display()))?;
    let mut found = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/go").exists());
    found
        .next()
        .with_context(|| format!("no Go in {}", lib.display()))
}

/// Fetches the packages with an apt that knows nothing but the release, and unpacks them.
fn unpack(folder: &Path, root: &Path) -> Result<()> {
    say("fetching BuildKit's sources and a Go compiler as Debian packages (once)");
    let apt = Apt::new(folder)?;
    apt.run(&["update", "-q"], &[], folder)?;
    let go = apt.go_package()?;
    let debs = folder.join("debs");
    let _ = fs::remove_dir_all(&debs);
    fs::create_dir_all(&debs).with_context(|| format!("make {}", debs.display()))?;
    let version = go.trim_end_matches("-go").to_owned();
    let sources = format!("{version}-src");
    let mut names = vec![go.as_str(), sources.as_str()];
    names.extend(PACKAGES);
    apt.run(&["download", "-q"], &names, &debs)?;
    let entries = fs::read_dir(&debs).with_context(|| format!("list {}", debs.display()))?;
    for deb in entries.flatten() {
        let mut unpack = Command::new("dpkg-deb");
        shell::output(unpack.arg("-x").arg(deb.path()).arg(root))?;
    }
    shell::write(&root.join("complete"), "")?;
    let _ = fs::remove_dir_all(&debs);
    Ok(())
}

/// An apt with lists of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(folder: &Path) -> Result<Self> {
        let apt = folder.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = apt.join(part);
            fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
        }
        let list = apt.join("sources.list");
        shell::write(&list, source(&AptConfig::of_this_machine()?.sources)?)?;
        shell::write(&apt.join("status"), "")?;
        let path = |name: &str| apt.join(name).display().to_string();
        let options = vec![
            format!("Dir::Etc::sourcelist={}", list.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}", path("lists")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", path("cache")),
            "Acquire::Check-Valid-Until=false".to_owned(),
            // As root, apt would fetch as a user who may not write here.
            "APT::Sandbox::User=root".to_owned(),
        ];
        Ok(Self { options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    fn run(&self, words: &[&str], names: &[&str], folder: &Path) -> Result<()> {
        let mut apt = self.command("apt-get");
        apt.args(words).args(names).current_dir(folder);
        shell::output(apt.stdin(Stdio::null())).map(drop)
    }

    /// Returns the package that has the compiler of today's `golang-go`.
    fn go_package(&self) -> Result<String> {
        let mut cache = self.command("apt-cache");
        let shown = shell::output(cache.args(["show", "--no-all-versions", "golang-go"]))?;
        shown
            .lines()
            .find_map(|line| line.strip_prefix("Depends: "))
            .and_then(|list| list.split([',', ' ']).find(|name| name.ends_with("-go")))
            .map(str::to_owned)
            .context("golang-go names no compiler")
    }
}

/// The same archive that this machine uses, in another release.
fn source(lines: &[String]) -> Result<String> {
    let Some(line) = lines.iter().find(|line| line.ends_with(" main")) else {
        bail!("apt has no source of Debian's main packages");
    };
    let mut words: Vec<&str> = line.split(' ').collect();
    let at = words.len() - 2;
    words[at] = SUITE;
    Ok(words.join(" ") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_is_another() {
        let lines = ["deb [signed-by=/k] http://m/deb/ r main".to_owned()];
        let wanted = "deb [signed-by=/k] http://m/deb/ sid main\n";
        assert_eq!(source(&lines).unwrap(), wanted);
        assert!(source(&[]).is_err());
    }
}
