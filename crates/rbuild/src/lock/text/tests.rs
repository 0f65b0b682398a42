use super::*;
use crate::ErrorKind;

const A: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn sample() -> String {
    format!(
        r#"{{
  "version": 1,
  "images": {{
    "alpine:3.20": {{
      "digest": "{A}",
      "platforms": {{
        "linux/amd64": "{A}",
        "linux/arm64": "{A}"
      }}
    }},
    "mine:1": {{
      "indirect": true,
      "store": {{
        "linux/amd64": "{A}"
      }}
    }}
  }},
  "files": {{
    "https://example.com/x.tgz": {{
      "digest": "{A}",
      "modified": "2024-02-03T04:05:06Z"
    }}
  }},
  "git": {{
    "https://example.com/r.git#v1": {{
      "commit": "{COMMIT}",
      "ref": "refs/tags/v1",
      "tag": "{COMMIT}"
    }}
  }}
}}
"#
    )
}

#[test]
fn what_is_read_is_written_again() {
    let text = sample();
    let lock = parse("Dockerfile.lock", &text).unwrap();
    assert_eq!(print(&lock).unwrap(), text);
    let pin = &lock.files["https://example.com/x.tgz"].pin;
    assert_eq!(pin.modified, Some(1_706_933_106));
    assert_eq!(print(&Lock::default()).unwrap(), "{\n  \"version\": 1\n}\n");
}

/// What a reader is told of a text, and the line that is shown.
fn refused(text: &str) -> (String, u32) {
    let error = parse("Dockerfile.lock", text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Build);
    let report = error.report();
    let line = report.excerpts.first().map_or(0, |place| place.first_line);
    assert!(!report.help.is_empty(), "{report:?}");
    (report.message, line)
}

#[test]
fn what_is_no_lock_is_refused_with_its_place() {
    let text = sample();
    let twice = text.replace("mine:1", "alpine:3.20");
    let same = text.replace("mine:1", "docker.io/library/alpine:3.20");
    let cases = [
        ("", "is no lock: EOF", 1),
        ("version = 1\n", "is no lock: expected value", 1),
        ("[1]", "is no lock", 1),
        ("{\"versions\": 1}\n", "missing field `version`", 1),
        (
            "{\"version\": 2, \"x\": 1}",
            "version 2 of the format, this rbuild knows 1",
            0,
        ),
        ("{\"version\": 0}", "version 0 of the format", 0),
        ("{\"version\": 1}\n<<<<<<< ours\n", "trailing characters", 2),
        (&text[..text.len() / 2], "is no lock: EOF", 14),
        (&text.replace("\"ref\"", "\"rf\""), "unknown field `rf`", 27),
        (&twice, "the entry alpine:3.20 is there twice", 11),
        (&same, "this image is there twice", 11),
        (&text.replacen(A, "sha256:e3", 1), "sha256:e3", 5),
        (&text.replacen(A, &A.replace("sha256", "md5"), 1), "md5", 5),
        (
            &text.replace("linux/arm64", "a/b/c/d/e"),
            "entry alpine:3.20: ",
            4,
        ),
        (&text.replace("alpine:3.20", "Alpine"), "entry Alpine: ", 4),
        (
            &text.replace("\"store\"", "\"platforms\""),
            "entry mine:1: it needs \"digest\"",
            11,
        ),
        (
            &text.replace("example.com/x", "u:p@example.com/x"),
            "what lets somebody in",
            19,
        ),
        (
            &text.replace("https://example.com/x", "ftp://example.com/x"),
            "no address of a file",
            19,
        ),
        (&text.replace("2024-02", "2024-99"), "is no time", 19),
        (
            &text.replace("refs/tags/v1", "--upload-pack=x"),
            "as git writes them",
            25,
        ),
        (
            &text.replace("refs/tags/v1", "refs/x:refs/y"),
            "as git writes them",
            25,
        ),
        (
            &text.replacen(COMMIT, "main", 1),
            "full name of a commit",
            25,
        ),
    ];
    for (text, message, line) in cases {
        let (found, at) = refused(text);
        assert!(found.contains(message), "{found}\nfor {text}");
        assert_eq!(at, line, "{found}\nfor {text}");
    }
}

#[test]
fn what_is_wrong_is_the_source_of_the_error() {
    let error = parse("Dockerfile.lock", "{\"version\": 3}").unwrap_err();
    let problem = std::error::Error::source(&error).unwrap();
    let problem: &LockProblem = problem.downcast_ref().unwrap();
    assert!(matches!(
        problem,
        LockProblem::Version {
            found: 3,
            known: 1,
            ..
        }
    ));
}

#[test]
fn no_damage_makes_it_panic() {
    let text = sample();
    for at in 0..text.len() {
        for byte in [b'"', b'{', b'}', b',', b'0', b'\\', b'-'] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = byte;
            // Some are locks of something else.
            if let Ok(lock) = parse("Dockerfile.lock", std::str::from_utf8(&bytes).unwrap()) {
                let again = print(&lock).unwrap();
                assert_eq!(parse("Dockerfile.lock", &again).unwrap(), lock);
            }
        }
    }
    let deep = format!(
        "{{\"version\": 1, \"images\": {}",
        "{\"a\":".repeat(100_000)
    );
    assert!(parse("Dockerfile.lock", &deep).is_err());
}

#[test]
fn no_truncation_is_taken_for_a_lock() {
    let text = sample();
    let end = text.trim_end().len();
    for length in 0..end {
        let cut = &text[..length];
        assert!(parse("Dockerfile.lock", cut).is_err(), "{cut}");
    }
}
