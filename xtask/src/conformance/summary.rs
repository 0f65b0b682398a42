//! The closing table: how the cases of each kind went.

use crate::shell::say;
use crate::test::Tally;

/// Kinds of cases by the folder of their Dockerfile, in the order in which they are printed; a name begins with
/// the first that fits.
const PARSED: [(&str, &str); 6] = [
    ("real/", "Dockerfiles from public repositories"),
    ("parser/buildkit-testfiles/", "BuildKit's parser test files"),
    (
        "parser/buildkit-inline/",
        "Dockerfiles of BuildKit's unit tests",
    ),
    (
        "parser/buildkit-recorded/",
        "Dockerfiles of BuildKit's integration tests",
    ),
    (
        "parser/synth/",
        "each instruction with missing, odd or too many arguments",
    ),
    ("build/", "Dockerfiles of the build cases"),
];

/// The same for images.
const BUILT: [(&str, &str); 5] = [
    ("bk-", "images of BuildKit's cases"),
    ("bud-", "images of buildah's cases"),
    ("conf-", "images of buildah's conformance cases"),
    ("kaniko-", "images of kaniko's cases"),
    ("own-", "images of cases written to fill gaps"),
];

/// Build cases that must fail, whoever they come from.
const FAILING: &str = "builds that must fail: error and line";
/// What a name belongs to that fits nowhere.
pub const OTHER: &str = "others";

/// Returns the kind of a Dockerfile that is parsed.
pub fn kind_of_file(name: &str) -> &'static str {
    kind_of(&PARSED, name)
}

/// Returns the kind of a build case.
pub fn kind_of_case(name: &str, must_fail: bool) -> &'static str {
    match must_fail {
        true => FAILING,
        false => kind_of(&BUILT, name),
    }
}

fn kind_of(kinds: &[(&str, &'static str)], name: &str) -> &'static str {
    let found = kinds.iter().find(|(prefix, _)| name.starts_with(prefix));
    found.map_or(OTHER, |(_, kind)| kind)
}

/// How one case went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// As recorded.
    Passed,
    /// Not as recorded, for a reason that is written down.
    Known,
    /// Not as recorded.
    Failed,
}

/// Counts by kind.
#[derive(Debug, Default)]
pub struct Summary {
    rows: Vec<(&'static str, [usize; 3])>,
}

impl Summary {
    /// Counts one case.
    pub fn count(&mut self, kind: &'static str, mark: Mark) {
        let at = self.rows.iter().position(|(known, _)| *known == kind);
        let at = at.unwrap_or_else(|| {
            self.rows.push((kind, [0; 3]));
            self.rows.len() - 1
        });
        self.rows[at].1[mark as usize] += 1;
    }

    /// Returns what counts at the end: known differences are neither passed nor failed.
    pub fn tally(&self) -> Tally {
        let [passed, _, failed] = self.total();
        Tally { passed, failed }
    }

    /// Adds the cases of another part.
    pub fn add(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    fn total(&self) -> [usize; 3] {
        let mut total = [0; 3];
        for (_, counts) in &self.rows {
            for (sum, count) in total.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        total
    }

    /// Prints the table.
    pub fn print(&self) {
        for line in self.lines() {
            say(&line);
        }
    }

    fn lines(&self) -> Vec<String> {
        let order = PARSED.iter().chain(&BUILT).map(|(_, kind)| *kind);
        let mut rows: Vec<_> = order
            .chain([FAILING, OTHER])
            .filter_map(|kind| self.rows.iter().find(|(known, _)| *known == kind))
            .copied()
            .collect();
        rows.push(("total", self.total()));
        let width = rows.iter().map(|(kind, _)| kind.len()).max().unwrap_or(0);
        let head = format!("{:width$}  passed  known  failed  total", "kind of case");
        let body = rows.iter().map(|(kind, [passed, known, failed])| {
            let total = passed + known + failed;
            format!("{kind:width$}  {passed:6}  {known:5}  {failed:6}  {total:5}")
        });
        std::iter::once(head).chain(body).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_row_and_all_are_added_up() {
        let mut summary = Summary::default();
        summary.count(kind_of_case("own-x", false), Mark::Passed);
        summary.count(kind_of_case("own-y", true), Mark::Failed);
        summary.count(kind_of_file("real/a/Dockerfile"), Mark::Known);
        summary.count(kind_of_file("real/b/Dockerfile"), Mark::Passed);
        let lines: Vec<String> = summary
            .lines()
            .iter()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "kind of case passed known failed total",
                "Dockerfiles from public repositories 1 1 0 2",
                "images of cases written to fill gaps 1 0 0 1",
                "builds that must fail: error and line 0 0 1 1",
                "total 2 1 1 4",
            ]
        );
        let tally = summary.tally();
        assert_eq!((tally.passed, tally.failed), (2, 1));
    }
}
