//! Whether something can be written at a place, before it is made.
//!
//! A look and no promise: what changes meanwhile is found when it is written.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access};

/// Checks that a file can be made or replaced at `path`.
///
/// A regular file is replaced as a whole, so its folder counts; pipes and devices are written to.
/// Errors: a folder that is missing or closed, a directory at the place itself.
pub fn check_file_place(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(meta) if !meta.is_file() => Ok(access(path, Access::WRITE_OK)?),
        // A link to something that is not there yet: its place is where the link points.
        Err(_) if path.is_symlink() => {
            let target = path.read_link()?;
            check_folder(&folder_of(path).join(folder_of(&target)))
        }
        _ => check_folder(folder_of(path)),
    }
}

/// Checks that a directory can be made at `path`, or files in it if it is there.
///
/// Errors: a file in its place or on the way, a folder that is closed.
pub(crate) fn check_dir_place(path: &Path) -> io::Result<()> {
    let mut above = path.ancestors().map(named);
    let there = above.find(|folder| folder.symlink_metadata().is_ok());
    check_folder(there.unwrap_or(Path::new("/")))
}

fn check_folder(folder: &Path) -> io::Result<()> {
    if !folder.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// The folder that a path is in; a bare name is in the current one.
fn folder_of(path: &Path) -> &Path {
    named(path.parent().unwrap_or(path))
}

fn named(folder: &Path) -> &Path {
    match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_need_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| check_file_place(&dir.path().join(path));
        fs::write(dir.path().join("file"), "").unwrap();
        at("new").unwrap();
        at("file").unwrap();
        let kind = |path: &str| at(path).unwrap_err().kind();
        assert_eq!(kind("none/new"), io::ErrorKind::NotFound);
        assert_eq!(kind("file/new"), io::ErrorKind::NotADirectory);
        assert_eq!(kind("."), io::ErrorKind::IsADirectory);
        std::os::unix::fs::symlink("later", dir.path().join("link")).unwrap();
        at("link").unwrap();
        std::os::unix::fs::symlink("none/later", dir.path().join("lost")).unwrap();
        assert_eq!(kind("lost"), io::ErrorKind::NotFound);
        check_file_place(Path::new("bare-name")).unwrap();
        check_file_place(Path::new("/dev/null")).unwrap();
    }

    #[test]
    fn directories_may_be_made_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| check_dir_place(&dir.path().join(path));
        fs::write(dir.path().join("file"), "").unwrap();
        at("new/deeper/still").unwrap();
        at(".").unwrap();
        let kind = |path: &str| at(path).unwrap_err().kind();
        assert_eq!(kind("file/new"), io::ErrorKind::NotADirectory);
        check_dir_place(Path::new("bare-name")).unwrap();
    }
}
