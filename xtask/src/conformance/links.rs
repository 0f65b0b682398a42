//! Symbolic links of the corpus, which can get lost on the way to this machine.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use super::record;
use crate::shell;

/// Turns the listed files below `cases` back into links to what they hold.
///
/// What is a link already, or is not there, is left alone.
pub fn restore(cases: &Path) -> Result<()> {
    let listed = shell::read(&record::folder().join("links.txt"))?;
    for name in listed.lines().filter(|line| !line.starts_with('#')) {
        let file = cases.join(name);
        if !fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
            continue;
        }
        let target = shell::read(&file)?;
        fs::remove_file(&file)
            .and_then(|()| symlink(&target, &file))
            .with_context(|| format!("turn {} into a link", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rbuild_testkit::{TempDir, Tree};

    use super::*;

    #[test]
    fn listed_files_become_links_once() {
        let cases = TempDir::new();
        let name = "own-copy-links/context";
        let listed = shell::read(&record::folder().join("links.txt")).expect("the list is there");
        let file = listed
            .lines()
            .find(|line| line.starts_with(name))
            .expect("the case is listed");
        Tree::new()
            .file(file, "../there")
            .file("other/context/f", "../there")
            .write_to(&cases);
        for _ in 0..2 {
            restore(&cases).expect("the list is there");
            let target = fs::read_link(cases.join(file)).expect("a link");
            assert_eq!(target, Path::new("../there"));
        }
        assert!(fs::read_link(cases.join("other/context/f")).is_err());
    }
}
