//! First inputs for the fuzz targets, made from `testdata/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Writes the seeds of one target into `folder`, which is emptied first.
pub fn write(testdata: &Path, target: &str, folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    list(testdata, &mut files)?;
    files.sort();
    let mut seeds = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let dockerfile = name.ends_with(".dockerfile") || name.contains("Dockerfile");
        let ignore = name.ends_with(".ignore") || name.ends_with(".dockerignore");
        let text = || fs::read(file).with_context(|| format!("read {}", file.display()));
        match target {
            "dockerfile" if dockerfile => seeds.push(text()?),
            "word" if dockerfile => seeds.extend(words(&text()?)),
            "json" if dockerfile => seeds.extend(arrays(&text()?)),
            "ignore" if ignore => seeds.push(with_paths(&text()?, file)),
            "pattern" if ignore => seeds.extend(patterns(&text()?, file)),
            _ => {}
        }
    }
    if seeds.is_empty() {
        bail!("no seeds for {target} in {}", testdata.display());
    }
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    seeds.sort();
    seeds.dedup();
    for (number, seed) in seeds.iter().enumerate() {
        crate::shell::write(&folder.join(format!("{number:04}")), seed)?;
    }
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => list(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// The arguments of each line that has a variable or a here-document, with two values.
fn words(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter(|line| line.contains(&b'$') || line.windows(2).any(|two| two == b"<<"))
        .map(|line| [b"\0", line, b"\0value\0a b"].concat())
        .collect()
}

/// What looks like an exec form.
fn arrays(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let start = line.iter().position(|byte| *byte == b'[')?;
            Some(line[start..].to_vec())
        })
        .collect()
}

/// The paths of the expectation beside an ignore file.
fn paths(file: &Path) -> Vec<String> {
    let expected = fs::read_to_string(file.with_extension("expect")).unwrap_or_default();
    expected
        .lines()
        .filter_map(|line| {
            let path = line
                .strip_prefix("+ ")
                .or_else(|| line.strip_prefix("- "))?;
            Some(path.split(" <- ").next()?.to_owned())
        })
        .collect()
}

fn with_paths(text: &[u8], file: &Path) -> Vec<u8> {
    let mut seed = text.to_vec();
    for path in paths(file) {
        seed.push(0);
        seed.extend(path.bytes());
    }
    seed
}

fn patterns(text: &[u8], file: &Path) -> Vec<Vec<u8>> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| with_paths(line, file))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_testkit::{TempDir, repository_root};

    #[test]
    fn every_target_has_seeds() {
        let testdata = repository_root().join("testdata");
        for target in super::super::TARGETS {
            let folder = TempDir::new();
            let seeds = folder.join("seeds");
            write(&testdata, target, &seeds).unwrap();
            assert!(fs::read_dir(&seeds).unwrap().count() > 5, "{target}");
        }
    }
}
