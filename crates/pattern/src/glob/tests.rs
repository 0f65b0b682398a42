use super::*;
use std::time::Instant;

fn check(pattern: &str, yes: &[&str], no: &[&str]) {
    let glob = Glob::new(pattern).unwrap();
    for path in yes {
        assert!(glob.matches(path), "{pattern} should match {path}");
    }
    for path in no {
        assert!(!glob.matches(path), "{pattern} should not match {path}");
    }
}

#[test]
fn star_and_question_mark_stop_at_slashes() {
    check("*", &["", "a", ".hidden"], &["a/b"]);
    check("*.go", &["a.go", ".go"], &["a/b.go", "a.god"]);
    check("a*/b", &["a/b", "abc/b"], &["a/c/b", "ab"]);
    check("a?b", &["axb", "a☺b"], &["ab", "a/b", "axxb"]);
    check("**", &["a"], &["a/b"]);
    check("a/**/b", &["a/x/b"], &["a/b", "a/x/y/b"]);
    check("a*b*c", &["abc", "axbxc", "abbcc"], &["ab", "acb"]);
}

#[test]
fn classes_and_escapes() {
    check("ab[b-d]", &["abc"], &["abe", "ab"]);
    check("ab[^b-d]", &["abe", "ab/"], &["abc"]);
    check("[!a]", &["!", "a"], &["b"]);
    check("arr[[]0].txt", &["arr[0].txt"], &["arr0.txt"]);
    check("a\\*b", &["a*b"], &["axb"]);
    check("[\\]a]", &["]", "a"], &["\\"]);
    check("[z-a]", &[], &["a", "m", "z"]);
    check("α[а-я]", &["αб"], &["αz"]);
    check("a]b", &["a]b"], &[]);
}

#[test]
fn bytes_that_are_not_text_are_single_characters() {
    let glob = Glob::new("a??.txt").unwrap();
    assert!(glob.matches(b"a\xff\xfe.txt"));
    assert!(!glob.matches(b"a\xff.txt"));
    assert!(!Glob::new("\u{fffd}").unwrap().matches(b"\xff"));
}

#[test]
fn broken_patterns_say_why() {
    for pattern in [
        "[", "[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[^", "[^bc", "a[", "[^]", "[\\",
    ] {
        let error = Glob::new(pattern).unwrap_err();
        assert!(
            error.to_string().starts_with("syntax error in pattern"),
            "{pattern}: {error}"
        );
    }
}

#[test]
fn prefix_ends_before_the_first_wildcard_component() {
    let check = |text: &str, prefix: &str, rest: &str| {
        assert_eq!(Glob::split_prefix(text), (prefix, rest), "{text}");
    };
    check("a/b*/c", "a", "b*/c");
    check("*.go", "", "*.go");
    check("/a/b/[x]", "/a/b", "[x]");
    check("/x*", "/", "x*");
    check("a/b", "a/b", "");
    check("a\\*/b?", "a\\*", "b?");
    assert!(!Glob::has_meta("a\\*b"));
    assert!(Glob::has_meta("a\\\\*b"));
}

#[test]
fn walkers_can_skip_what_cannot_match() {
    let glob = Glob::new("a*/b/*.c").unwrap();
    assert!(glob.could_match_below(""));
    assert!(glob.could_match_below("ax"));
    assert!(glob.could_match_below("ax/b"));
    assert!(!glob.could_match_below("bx"));
    assert!(!glob.could_match_below("ax/c"));
    assert!(!glob.could_match_below("ax/b/c"));
}

#[test]
fn hostile_patterns_take_linear_time() {
    let glob = Glob::new(&"a*".repeat(200)).unwrap();
    let mut path = "a".repeat(4000);
    path.push_str("/b");
    let start = Instant::now();
    assert!(!glob.matches(&path));
    // A backtracking matcher would not come back; this is a bound on work, not a benchmark.
    assert!(start.elapsed().as_secs() < 10);
}
