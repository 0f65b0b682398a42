//! Paths inside a layer: raw bytes, no leading slash, ordered component by component.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Longest path that is accepted, as the kernel's `PATH_MAX`.
pub const MAX_PATH: usize = 4096;
/// Longest component that is accepted, as the kernel's `NAME_MAX`.
pub const MAX_NAME: usize = 255;

/// Orders paths by components, so that a directory stands right before what is below it.
///
/// Equal to comparing bytes with `/` counting as the lowest, which is the order in which
/// BuildKit's differ walks.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.iter().zip(b).position(|(x, y)| x != y);
    match common.and_then(|at| Some((*a.get(at)?, *b.get(at)?))) {
        Some((b'/', _)) => Ordering::Less,
        Some((_, b'/')) => Ordering::Greater,
        Some((x, y)) => x.cmp(&y),
        None => a.len().cmp(&b.len()),
    }
}

/// Whether `path` lies below the directory `dir`. Everything but the root lies below `""`.
pub fn is_below(path: &[u8], dir: &[u8]) -> bool {
    if dir.is_empty() {
        return !path.is_empty();
    }
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.len() > 1 && rest.starts_with(b"/"))
}

/// The directory that holds `path`; `""` for a path of one component.
pub fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => path.get(..at).unwrap_or_default(),
        None => b"",
    }
}

/// The last component.
pub fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// `dir` and `name` as one path; the root is `""`.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return name.to_vec();
    }
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// The components of a path: none for the root.
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
}

/// The proper ancestors of a path, outermost first, without the root.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .filter_map(|(at, _)| path.get(..at))
}

/// Whether `path` may name an entry; the reason if not.
pub fn check(path: &[u8]) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("the path is empty");
    }
    if path.len() > MAX_PATH {
        return Err("the path is longer than 4096 bytes");
    }
    if path.contains(&0) {
        return Err("the path holds a NUL byte");
    }
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" => return Err("the path has an empty component"),
            b"." | b".." => return Err("the path has a dot component"),
            _ if part.len() > MAX_NAME => {
                return Err("the path has a component longer than 255 bytes");
            }
            _ => {}
        }
    }
    Ok(())
}

/// The path for messages and for calls into `std`.
pub fn to_path(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_before_its_content_and_names_that_extend_it() {
        let mut paths: Vec<&[u8]> = vec![b"a-b", b"a/b", b"a", b"a.b", b"a/b/c", b"B", b"a/b-c"];
        paths.sort_by(|a, b| compare(a, b));
        let text: Vec<_> = paths.iter().map(|p| String::from_utf8_lossy(p)).collect();
        assert_eq!(text, ["B", "a", "a/b", "a/b/c", "a/b-c", "a-b", "a.b"]);
    }

    #[test]
    fn below_needs_a_whole_component() {
        assert!(is_below(b"a/b", b"a"));
        assert!(!is_below(b"ab", b"a"));
        assert!(!is_below(b"a", b"a"));
        assert!(is_below(b"a", b""));
        assert!(!is_below(b"", b""));
    }

    #[test]
    fn ancestors_run_from_the_outside() {
        let found: Vec<_> = ancestors(b"a/b/c").collect();
        assert_eq!(found, [&b"a"[..], b"a/b"]);
    }

    #[test]
    fn paths_that_climb_or_hide_are_refused() {
        for bad in [
            &b""[..],
            b"/a",
            b"a/",
            b"a//b",
            b"a/../b",
            b"./a",
            b"a\0b",
            &[b'x'; 256],
        ] {
            assert!(check(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(check(b"a/b..c/.d").is_ok());
    }
}
