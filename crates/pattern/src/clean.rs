//! Lexical path cleaning.

/// Removes `.` and `x/..` components, repeated slashes and a slash at the end.
///
/// `..` that would leave the root disappears from absolute paths and stays in relative ones; a path
/// of nothing is `.`. No file system is asked. Source: Go, package path, `Clean`.
pub(crate) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn as_go_does() {
        for (path, wanted) in [
            ("", "."),
            (".", "."),
            ("/", "/"),
            ("a", "a"),
            ("./a//b/", "a/b"),
            ("a/../b", "b"),
            ("a/..", "."),
            ("../x", "../x"),
            ("a/../../x", "../x"),
            ("../../x", "../../x"),
            ("/../x", "/x"),
            ("//a/./b", "/a/b"),
        ] {
            assert_eq!(clean(path), wanted, "{path:?}");
        }
    }
}
