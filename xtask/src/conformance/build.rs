//! The build cases: each built with `rbuild build` and compared with the image BuildKit made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rbuild_testkit::{TempDir, run};

use super::Options;
use super::blame::Checks;
use super::case::{Case, stable_fragment};
use super::judge::{Difference, Judge};
use super::links;
use super::record::{Part, Results, Verdict, settle};
use super::summary::{Summary, kind_of_case};
use crate::bootstrap::{self, Extent};
use crate::shell::{self, say};

const WORKERS: usize = 2;
/// Long enough for a package install on a busy machine, short enough to notice a hang.
const LIMIT: Duration = Duration::from_secs(180);

/// Builds every case and compares.
pub fn compare(corpus: &Path, binary: &Path, options: &Options) -> Result<Summary> {
    let place = Place::prepare(corpus, binary)?;
    let cases = place.cases(options)?;
    let outcomes = place.run_all(&cases)?;
    let details = print_table(&outcomes);
    shell::write(&place.dir.join("build-results.txt"), details)?;
    let failing: BTreeSet<&str> = cases
        .iter()
        .filter(|case| case.error().is_some())
        .map(|case| case.name.as_str())
        .collect();
    let results: Results = outcomes
        .into_iter()
        .map(|(name, outcome)| {
            let kind = kind_of_case(&name, failing.contains(name.as_str()));
            let difference = outcome.verdict();
            (name, Verdict { kind, difference })
        })
        .collect();
    settle(
        Part::Build,
        &results,
        options.only.is_none(),
        options.record,
    )
}

/// How one case went.
enum Outcome {
    /// As recorded.
    Equal,
    /// An image, but another one.
    Differs(Vec<Difference>),
    /// No image, or an image where an error was due, or another error.
    Wrong(String),
}

impl Outcome {
    fn verdict(&self) -> Option<String> {
        match self {
            Self::Equal => None,
            Self::Differs(found) => {
                let first = found.first()?;
                let more = match found.len() {
                    1 => String::new(),
                    n => format!(" (and {} more)", n - 1),
                };
                Some(format!(
                    "{} {} {}{more}",
                    first.kind, first.at, first.values
                ))
            }
            Self::Wrong(text) => Some(text.clone()),
        }
    }
}

/// Folders and programs of a run.
struct Place {
    corpus: PathBuf,
    dir: PathBuf,
    binary: PathBuf,
    trees: BTreeMap<String, PathBuf>,
    checks: Checks,
}

impl Place {
    fn prepare(corpus: &Path, binary: &Path) -> Result<Self> {
        let dir = shell::target_dir().join("conformance");
        let bases = dir.join("bases");
        let mut trees = BTreeMap::new();
        for role in ["busybox", "alpine"] {
            let layout = bases.join(role);
            fs::create_dir_all(&layout).with_context(|| format!("make {}", layout.display()))?;
            let archive = corpus.join(format!("build/bases/{role}.oci.tar"));
            shell::output(
                Command::new("tar")
                    .arg("-C")
                    .arg(&layout)
                    .arg("-xf")
                    .arg(archive),
            )?;
            trees.insert(
                role.to_owned(),
                corpus.join(format!("build/bases/{role}.json")),
            );
        }
        bootstrap::debian(&bases.join("debian"), Extent::MinBase)?;
        let tree = dir.join("debian.json");
        let mut dump = Command::new("python3");
        dump.arg("-B")
            .arg(corpus.join("tools/ocidump.py"))
            .arg("--diff-ids");
        shell::output(dump.arg(bases.join("debian")).arg("-o").arg(&tree))?;
        trees.insert("debian".to_owned(), tree);
        let place = Self {
            corpus: corpus.to_path_buf(),
            dir,
            binary: binary.to_path_buf(),
            trees,
            checks: Checks::read(corpus)?,
        };
        place.copy_cases()?;
        Ok(place)
    }

    /// Copies the cases, since contexts need modes, links and pipes that version control loses.
    fn copy_cases(&self) -> Result<()> {
        let cases = self.dir.join("cases");
        let _ = fs::remove_dir_all(&cases);
        shell::output(
            Command::new("cp")
                .arg("-a")
                .arg(self.corpus.join("build"))
                .arg(&cases),
        )?;
        fs::remove_dir_all(cases.join("bases")).ok();
        // The corpus may lie there without write permission, which is not part of any case.
        shell::output(Command::new("chmod").args(["-R", "u+w"]).arg(&cases))?;
        fs::set_permissions(&cases, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("open {}", cases.display()))?;
        let mut fix = Command::new("python3");
        fix.arg("-B").arg(self.corpus.join("tools/fixcontext.py"));
        shell::output(fix.args(case_folders(&cases)?))?;
        links::restore(&cases)
    }

    fn cases(&self, options: &Options) -> Result<Vec<Case>> {
        let folders = case_folders(&self.dir.join("cases"))?;
        let cases = folders.iter().map(|folder| Case::read(folder));
        let mut cases: Vec<Case> = cases.collect::<Result<_>>()?;
        cases.retain(|case| options.wants(&case.name));
        Ok(cases)
    }

    /// Builds the cases with a few workers that take the next one each.
    fn run_all(&self, cases: &[Case]) -> Result<BTreeMap<String, Outcome>> {
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(BTreeMap::new());
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|_| scope.spawn(|| self.work(cases, &next, &outcomes)))
                .collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
        })?;
        outcomes
            .into_inner()
            .map_err(|_| anyhow!("a worker panicked"))
    }

    fn work(
        &self,
        cases: &[Case],
        next: &AtomicUsize,
        outcomes: &Mutex<BTreeMap<String, Outcome>>,
    ) -> Result<()> {
        let mut judge = Judge::start(&self.corpus, self.trees.clone())?;
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = self.try_case(case, &mut judge)?;
            outcomes
                .lock()
                .map_err(|_| anyhow!("a worker panicked"))?
                .insert(case.name.clone(), outcome);
        }
        Ok(())
    }

    /// Builds one case in a store of its own: cache mounts of another case must not show.
    fn try_case(&self, case: &Case, judge: &mut Judge) -> Result<Outcome> {
        let work = TempDir::new_in(&self.dir);
        let image = work.join("image.tar");
        let mut build = case.command(
            &self.binary,
            &self.dir.join("bases"),
            &work.join("store"),
            &image,
        );
        let done = run(&mut build, LIMIT);
        if done.timed_out {
            return Ok(Outcome::Wrong("ran into the time limit".to_owned()));
        }
        let printed = done.text();
        match case.error() {
            Some(error) => {
                let line = self.checks.line(&case.name, error);
                Ok(judge_error(
                    (stable_fragment(error), line),
                    done.code(),
                    &printed,
                ))
            }
            None if done.code() == Some(0) => {
                let mut found =
                    judge.compare(&image, &case.dir.join("expect.json"), &case.roles())?;
                let unstable = case.unstable();
                found.retain(|difference| {
                    !unstable
                        .iter()
                        .any(|kind| difference.kind.starts_with(kind))
                });
                Ok(if found.is_empty() {
                    Outcome::Equal
                } else {
                    Outcome::Differs(found)
                })
            }
            None => Ok(Outcome::Wrong(format!(
                "does not build: {}",
                complaint(&printed)
            ))),
        }
    }
}

fn case_folders(cases: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(cases).with_context(|| format!("list {}", cases.display()))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.retain(|folder| folder.join("case.json").exists());
    folders.sort();
    Ok(folders)
}

/// `due` is the text, and the line that it points at where that is known.
fn judge_error(due: (&str, Option<u64>), code: Option<i32>, printed: &str) -> Outcome {
    let (fragment, line) = due;
    let wrong = |text: String| Outcome::Wrong(format!("{text}: {}", complaint(printed)));
    match code {
        Some(1) => {}
        Some(0) => return Outcome::Wrong(format!("builds, but {fragment:?} is due")),
        code => return wrong(format!("exit code {code:?}, 1 is due")),
    }
    if !words(printed).contains(&words(fragment)) {
        return wrong(format!("{fragment:?} is due, it says"));
    }
    let excerpt = line.map(|line| format!("Dockerfile:{line}"));
    match excerpt {
        Some(excerpt) if !printed.lines().any(|line| line == excerpt) => wrong(format!(
            "{excerpt} is to blame, it points at {}",
            places(printed)
        )),
        _ => Outcome::Equal,
    }
}

/// Returns the heads of the excerpts, for a message.
fn places(printed: &str) -> String {
    let heads = printed
        .lines()
        .filter(|line| line.starts_with("Dockerfile:"));
    let heads: Vec<&str> = heads.collect();
    match heads[..] {
        [] => "nothing".to_owned(),
        _ => heads.join(", "),
    }
}

/// One blank between words, however the message was wrapped.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the line that names the error, else the last one.
fn complaint(printed: &str) -> String {
    let lines = || {
        printed
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let named = lines().find(|line| line.to_ascii_lowercase().starts_with("error"));
    let text = named.or_else(|| lines().next_back()).unwrap_or("nothing");
    text.chars().take(200).collect()
}

/// Prints how many cases show each kind of difference; returns a line of detail for every case.
fn print_table(outcomes: &BTreeMap<String, Outcome>) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut details = String::new();
    let mut alike = 0;
    for (name, outcome) in outcomes {
        let mut seen: Vec<&str> = match outcome {
            Outcome::Equal => Vec::new(),
            Outcome::Differs(found) => found.iter().map(|one| one.kind.as_str()).collect(),
            Outcome::Wrong(_) => vec!["no image or another error"],
        };
        seen.sort_unstable();
        seen.dedup();
        let about_layers = |kind: &&str| kind.starts_with("layers") || kind.starts_with("history");
        alike += usize::from(seen.iter().all(about_layers));
        for kind in seen {
            *kinds.entry(kind.to_owned()).or_default() += 1;
        }
        let verdict = outcome.verdict().unwrap_or_else(|| "equal".to_owned());
        details.push_str(&format!("{name}\t{verdict}\n"));
    }
    let mut table: Vec<_> = kinds.into_iter().collect();
    table.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (kind, count) in table {
        say(&format!("{count:5}  {kind}"));
    }
    say(&format!(
        "{alike} of {} alike without layers and history",
        outcomes.len()
    ));
    details
}
