//! Telling sources of COPY and ADD that are no paths: git references and URLs.

/// A source that has to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remote {
    /// A git repository.
    Git,
    /// A file behind a URL.
    Http,
}

/// Says whether `source` has to be fetched, and how.
pub(super) fn remote(source: &str) -> Option<Remote> {
    if source.starts_with("git://") || source.starts_with("ssh://") || is_scp_like(source) {
        return Some(Remote::Git);
    }
    let rest = source
        .strip_prefix("http://")
        .or_else(|| source.strip_prefix("https://"))?;
    let path = rest.split(['?', '#']).next().unwrap_or(rest);
    match path.ends_with(".git") {
        true => Some(Remote::Git),
        false => Some(Remote::Http),
    }
}

/// `user@host:path`.
fn is_scp_like(source: &str) -> bool {
    let word = |text: &str, more: &[char]| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    let Some((user, rest)) = source.split_once('@') else {
        return false;
    };
    let host = rest.split_once(':').map(|(host, _)| host);
    word(user, &['-', '_']) && host.is_some_and(|host| word(host, &['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_sources() {
        let check = |source, wanted| assert_eq!(remote(source), wanted, "{source}");
        check("https://example.com/x.git", Some(Remote::Git));
        check(
            "https://example.com/x.git?ref=v1#main:sub",
            Some(Remote::Git),
        );
        check("git://example.com/x", Some(Remote::Git));
        check("git@example.com:x/y", Some(Remote::Git));
        check("http://example.com/x.tar", Some(Remote::Http));
        check("http://example.com/x?f=.git", Some(Remote::Http));
        check("x.git", None);
        check("github.com/o/r", None);
        check("@scope/x:y", None);
    }
}
