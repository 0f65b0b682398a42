use super::*;

fn git(text: &str) -> GitRef {
    match Remote::parse_context(text) {
        Some(Ok(Remote::Git(git))) => git,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn kinds_of_sources() {
    let check = |source, wanted: &str| {
        let found = match Remote::parse(source) {
            Some(Ok(Remote::Git(_))) => "git",
            Some(Ok(Remote::Http(_))) => "http",
            Some(Err(_)) => "wrong",
            None => "path",
        };
        assert_eq!(found, wanted, "{source}");
    };
    check("https://example.com/x.git", "git");
    check("https://example.com/x.git?ref=v1#v1:sub", "git");
    check("git://example.com/x", "git");
    check("git@example.com:x/y", "git");
    check("http://example.com/x.tar", "http");
    check("http://example.com/x?f=.git", "http");
    check("x.git", "path");
    check("github.com/o/r", "path");
    check("@scope/x:y", "path");
    check("https://example.com/x.git?unknown=1", "wrong");
}

#[test]
fn parts_of_git_addresses() {
    let check = |text: &str, remote: &str, reference: &str, subdir: &str| {
        let op = git(text).op;
        assert_eq!(
            (&*op.remote, &*op.reference, &*op.subdir),
            (remote, reference, subdir),
            "{text}"
        );
    };
    let url = "https://host/o/r.git";
    check(url, url, "", "");
    check("https://host/o/r.git#main", url, "main", "");
    check("https://host/o/r.git#main:a/b", url, "main", "a/b");
    check("https://host/o/r.git#:/a/../b/", url, "", "b");
    check("https://host/o/r.git#:../../etc", url, "", "etc");
    check("https://host/o/r.git?ref=v1&subdir=d", url, "v1", "d");
    check("https://host/o/r.git?tag=v1", url, "refs/tags/v1", "");
    check(
        "https://host/o/r.git?branch=a%2Fb",
        url,
        "refs/heads/a/b",
        "",
    );
    check("https://host/o/r.git?commit=ABCDEF0", url, "abcdef0", "");
    check("git@host:o/r#v1:d", "git@host:o/r", "v1", "d");
    check("github.com/o/r#v1", "https://github.com/o/r", "v1", "");
}

#[test]
fn switches_of_git_addresses() {
    let plain = git("https://h/r.git");
    assert_eq!((plain.keep_git_dir, plain.op.take.submodules), (None, true));
    let kept = git("https://h/r.git?keep-git-dir&submodules=0&mtime=commit");
    assert!(kept.op.take.git_dir && !kept.op.take.submodules);
    assert_eq!(kept.op.times, rbuild_graph::GitTimes::Commit);
}

#[test]
fn wrong_queries_are_named() {
    let check = |query: &str, wanted: &str| {
        let text = format!("https://h/r.git?{query}");
        let error = GitRef::parse(&text).unwrap().unwrap_err();
        assert_eq!(error, wanted, "{query}");
    };
    check("x=1", "unexpected query \"x\"");
    check("ref=", "query \"ref\" has no value");
    check("ref=a&ref=b", "query \"ref\" has multiple values");
    check("ref=a#b", "ref conflicts: \"b\" vs \"a\"");
    check("subdir=a#:b", "subdir conflicts: \"b\" vs \"a\"");
    check("tag=a&branch=b", "branch conflicts with tag");
    check(
        "keep-git-dir=maybe",
        "invalid keep-git-dir value: \"maybe\"",
    );
    check(
        "checksum=foobar",
        "invalid checksum \"foobar\", expected hex commit hash",
    );
}

#[test]
fn names_of_downloaded_files() {
    let check = |url, name| assert_eq!(file_op(url, None).name, name, "{url}");
    check("https://host/a/b.tar.gz?x=/y", "b.tar.gz");
    check("https://host/a%20b", "a b");
    check("https://host/a/", "a");
    check("https://host/", UNNAMED);
    check("https://host", UNNAMED);
    check("https://host/a/..", UNNAMED);
    check("https://host/a%2F..", UNNAMED);
}

#[test]
fn checksums_of_files() {
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert!(file_checksum(&format!("sha256:{hex}")).is_ok());
    for (name, times) in [("sha384", 96), ("sha512", 128)] {
        assert!(file_checksum(&format!("{name}:{}", "0".repeat(times))).is_ok());
    }
    let check = |text: &str, wanted| assert_eq!(file_checksum(text), Err(wanted), "{text}");
    check("foo", "invalid checksum digest format".to_owned());
    check("md5:00", "unsupported digest algorithm".to_owned());
    check(
        &format!("sha384:{hex}"),
        "invalid checksum digest length".to_owned(),
    );
    check("sha256:00", "invalid checksum digest length".to_owned());
    check("sha256:zz", "invalid checksum digest format".to_owned());
}

#[test]
fn credentials_are_not_shown() {
    assert_eq!(shown("https://u:p@host/x"), "https://host/x");
    assert_eq!(shown("https://host/x@y"), "https://host/x@y");
}
