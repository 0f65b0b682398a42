//! Paths as texts: cleaning and joining the way Go's `path` package does.

/// Cleans a path against the root: absolute, no `.`, no `..`, no double slash, none at the end.
pub(crate) fn absolute(path: &str) -> String {
    join("/", path)
}

/// Joins `path` to the absolute `dir`, unless it is absolute itself; `..` stops at the root.
pub(crate) fn join(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let below = if path.starts_with('/') { "" } else { dir };
    for part in below.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Cleans a path and leaves a relative one relative; `..` stops at its start.
pub(crate) fn clean(path: &str) -> String {
    let cleaned = absolute(path);
    match path.starts_with('/') {
        true => cleaned,
        false => cleaned.trim_start_matches('/').to_owned(),
    }
}

/// As [`join`], for a working directory: a slash or `/.` at the end leaves a slash there.
pub(crate) fn join_workdir(dir: &str, path: &str) -> String {
    let joined = join(dir, path);
    if joined != "/" && (path.ends_with('/') || path.ends_with("/.")) {
        return format!("{joined}/");
    }
    joined
}

/// Whether a destination is written as a directory: empty, `.`, `x/` or `x/.`.
pub(crate) fn names_directory(path: &str) -> bool {
    matches!(path, "" | ".") || path.ends_with('/') || path.ends_with("/.")
}

/// The last component of a path, without slashes at the end; `/` for the root, `.` for nothing.
pub(crate) fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed) {
        ("", _) => ".",
        (_, "") => "/",
        (_, trimmed) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_paths_stay_below_the_root() {
        let check = |dir, path, wanted| assert_eq!(join(dir, path), wanted, "{dir} {path}");
        check("/", "a/b/", "/a/b");
        check("/w", "a//b/.", "/w/a/b");
        check("/w", "/x", "/x");
        check("/w", "../../x", "/x");
        check("/w", "", "/w");
        check("/w", ".", "/w");
        check("/w", "~", "/w/~");
    }

    #[test]
    fn a_working_directory_keeps_its_slash() {
        let check = |path, wanted| assert_eq!(join_workdir("/w/", path), wanted, "{path}");
        check("a", "/w/a");
        check("a/", "/w/a/");
        check("/a/.", "/a/");
        check("/", "/");
        check(".", "/w");
    }

    #[test]
    fn a_directory_is_known_by_its_end() {
        for path in ["", ".", "a/", "/a/.", "/"] {
            assert!(names_directory(path), "{path}");
        }
        for path in ["a", "a.", "/a/..", ".."] {
            assert!(!names_directory(path), "{path}");
        }
    }

    #[test]
    fn base_names_are_those_of_go() {
        assert_eq!(base_name("/a/b/"), "b");
        assert_eq!(base_name("/"), "/");
        assert_eq!(base_name(""), ".");
    }
}
