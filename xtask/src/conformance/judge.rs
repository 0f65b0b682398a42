//! The corpus's own tools compare images: one Python process for each worker, asked line by line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use rbuild_testkit::need_tool;
use serde_json::{Value, json};

/// Loads the two tools once and then answers a line of JSON with a line of JSON.
const SCRIPT: &str = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
import ocidump, ocidiff
def load(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return json.load(f)
bases = {}
for line in sys.stdin:
    job = json.loads(line)
    try:
        for name, path in job["bases"].items():
            if name not in bases:
                bases[name] = load(path)
        used = {name: bases[name] for name in job["bases"]}
        got = ocidump.dump(job["image"], bases=used)
        found = ocidiff.compare(load(job["expect"])["image"], got)
    except (Exception, SystemExit) as error:
        found = [{"kind": "unreadable", "at": "", "want": None, "got": repr(error)}]
    print(json.dumps(found), flush=True)
"#;

/// One difference between a recorded image and ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Kind as `ocidiff.py` names it, such as `rootfs.mode`.
    pub kind: String,
    /// Path, or place in the config.
    pub at: String,
    /// Both values, shortened.
    pub values: String,
}

/// A running judge.
pub struct Judge {
    child: Child,
    answers: BufReader<ChildStdout>,
    bases: BTreeMap<String, PathBuf>,
}

impl Judge {
    /// Starts one with the tools of `corpus`; `bases` has the recorded tree of each base role.
    pub fn start(corpus: &Path, bases: BTreeMap<String, PathBuf>) -> Result<Self> {
        let mut child = Command::new(need_tool("python3"))
            .args(["-B", "-c", SCRIPT])
            .arg(corpus.join("tools"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start python3")?;
        let answers = BufReader::new(child.stdout.take().context("its output is piped")?);
        Ok(Self {
            child,
            answers,
            bases,
        })
    }

    /// Compares the archive `image` with the recorded result in `expect`.
    pub fn compare(
        &mut self,
        image: &Path,
        expect: &Path,
        roles: &[&str],
    ) -> Result<Vec<Difference>> {
        let bases: BTreeMap<_, _> = self
            .bases
            .iter()
            .filter(|(role, _)| roles.contains(&role.as_str()))
            .collect();
        let job = json!({ "image": image, "expect": expect, "bases": bases });
        let stdin = self.child.stdin.as_mut().context("its input is piped")?;
        writeln!(stdin, "{job}").context("ask the judge")?;
        let mut line = String::new();
        if self
            .answers
            .read_line(&mut line)
            .context("hear the judge")?
            == 0
        {
            bail!("the judge ended");
        }
        let found: Vec<Value> = serde_json::from_str(&line).context("the judge prints JSON")?;
        Ok(found.iter().map(difference).collect())
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn difference(found: &Value) -> Difference {
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    let brief = |key: &str| found[key].to_string().chars().take(120).collect::<String>();
    Difference {
        kind: text("kind"),
        at: text("at"),
        values: format!("want {} got {}", brief("want"), brief("got")),
    }
}
