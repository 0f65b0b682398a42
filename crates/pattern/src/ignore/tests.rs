use super::*;
use crate::Error;

fn dir() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/ignore")
}

/// One case: `<name>.ignore` is the file; `<name>.expect` has lines `+ path` (included) and
/// `- path <- line: rule` (hidden, and by what), or the error.
fn check(name: &str) {
    let text = std::fs::read_to_string(dir().join(format!("{name}.ignore"))).unwrap();
    let expect_path = dir().join(format!("{name}.expect"));
    let expected = std::fs::read_to_string(&expect_path).unwrap();
    let actual = match IgnoreSet::parse(&text) {
        Err(error) => format!("error: {error}\n"),
        Ok(set) => expected
            .lines()
            .map(|line| render(&set, path_of(line)))
            .collect(),
    };
    if std::env::var_os("RBUILD_UPDATE").is_some() {
        std::fs::write(expect_path, actual).unwrap();
        return;
    }
    assert_eq!(actual, expected, "{name}");
}

fn path_of(line: &str) -> &str {
    let path = line.get(2..).unwrap_or_default();
    path.split(" <- ").next().unwrap_or_default()
}

fn render(set: &IgnoreSet, path: &str) -> String {
    match set.verdict(path) {
        Verdict::Included => format!("+ {path}\n"),
        Verdict::Excluded { line, text, .. } => format!("- {path} <- {line}: {text}\n"),
    }
}

#[test]
fn data_cases() {
    let mut names: Vec<String> = std::fs::read_dir(dir())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".ignore").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() > 8, "{names:?}");
    names.iter().for_each(|name| check(name));
}

#[test]
fn errors_carry_the_line() {
    let error = IgnoreSet::parse("# c\n\na\n[x-]\n").unwrap_err();
    assert_eq!(error.line(), Some(4));
    assert_eq!(
        IgnoreSet::parse("a\n!  \n").unwrap_err(),
        Error::EmptyException { line: Some(2) }
    );
}

#[test]
fn names_that_are_not_text_are_decided_too() {
    let set = IgnoreSet::parse("*.o\n").unwrap();
    assert!(set.verdict(b"\xff\xfe.o").is_excluded());
    assert!(!set.verdict(b"\xff/x.o").is_excluded());
}

#[test]
fn empty_sets_hide_nothing() {
    let set = IgnoreSet::parse("# only a comment\n\n").unwrap();
    assert!(set.is_empty() && !set.has_exceptions());
    assert_eq!(set.verdict("a/b"), Verdict::Included);
    assert_eq!(set, IgnoreSet::default());
}

#[test]
fn pruning_never_hides_what_a_verdict_includes() {
    // Every directory above an included path must be entered by a walker.
    let rules = [
        "**\n!**/*.txt",
        "a\n!a/b/**\na/b/c",
        "*\n!x?/[yz]\n",
        "**/d\n!e/**/d/f*",
        "a**\n!ab",
    ];
    let names = ["a", "ab", "b", "c", "d", "e", "f", "x1", "y", "k.txt"];
    let mut included = 0;
    for text in rules {
        let set = IgnoreSet::parse(text).unwrap();
        for path in names.iter().flat_map(|a| {
            let deeper = names
                .iter()
                .flat_map(move |b| names.map(|c| format!("{a}/{b}/{c}")));
            deeper.chain(names.map(|b| format!("{a}/{b}")))
        }) {
            if set.verdict(&path).is_excluded() {
                continue;
            }
            included += 1;
            for (at, _) in path.match_indices('/') {
                assert!(
                    set.could_include_below(&path[..at]),
                    "{text:?} {path} {}",
                    &path[..at]
                );
            }
        }
    }
    assert!(included > 100);
}
