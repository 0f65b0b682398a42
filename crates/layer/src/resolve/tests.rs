//! Links that leave, loop and dangle.

use std::io::Read;
use std::sync::Arc;

use super::*;
use crate::{ContentDigest, Entry, Kind, LayerBytes, LayerId, LayerIndex, Mtime, View, ViewLayer};

struct NoBytes;

impl LayerBytes for NoBytes {
    fn open(&self, layer: &LayerId, _: &[u8]) -> Result<Box<dyn Read + Send>> {
        Err(Error::Gone { layer: *layer })
    }
}

/// `a/b` is a file, `a/` a directory, `a@t` a symbolic link with the text t.
fn view(words: &str) -> View {
    let entry = |word: &str| {
        let (path, kind) = match word.split_once('@') {
            Some((path, target)) => {
                let target = target.into();
                (path, Kind::Symlink { target })
            }
            None if word.ends_with('/') => (word.trim_end_matches('/'), Kind::dir()),
            None => {
                let content = ContentDigest::empty();
                (word, Kind::File { size: 0, content })
            }
        };
        Entry::new(path, kind, 0o755, Mtime::default())
    };
    let entries = words.split_whitespace().map(entry).collect();
    let id = LayerId::from_bytes([0; 16]);
    let index = Arc::new(LayerIndex::new(entries).unwrap());
    View::new(vec![ViewLayer { id, index }], Arc::new(NoBytes))
}

/// `existing|missing`, or the error's text.
fn text(words: &str, path: &str, last: Follow) -> String {
    match resolve(&view(words), path.as_bytes(), last) {
        Ok(found) => {
            let missing: Vec<_> = found
                .missing
                .iter()
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect();
            let path = String::from_utf8_lossy(&found.path).into_owned();
            format!("{path}|{}", missing.join("/"))
        }
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(words: &str, path: &str, expected: &str) {
    assert_eq!(text(words, path, Follow::Last), expected, "{path}");
}

#[test]
fn plain_paths() {
    check("a/b", "/a/b", "a/b|");
    check("a/b", "a/./b", "a/b|");
    check("a/b", "a/c/d", "a|c/d");
    check("a/b", "/", "|");
    check("a/b", "", "|");
}

#[test]
fn nothing_leads_out() {
    check("a/b", "../../a/b", "a/b|");
    check("a/b l@/../../../etc", "l/x", "|etc/x");
    check("etc/x l@/etc", "l/x", "etc/x|");
    check("d/l@../../../etc etc/x", "d/l/x", "etc/x|");
}

#[test]
fn chains_and_links_in_the_middle() {
    check("a/f b@a c@/b d/e@../c", "d/e/f", "a/f|");
    check("a/s/f b@a/s", "b/../f", "a|f");
}

#[test]
fn dangling_links_report_what_is_missing() {
    check("real/ flink@/real/a", "flink", "real|a");
    check("l@/x/y/../z", "l/w", "|x/z/w");
    check("l@/x/../../etc", "l", "|etc");
}

#[test]
fn the_last_link_is_followed_on_request() {
    assert_eq!(text("a l@a", "l", Follow::NotLast), "l|");
    assert_eq!(text("a/f l@a", "l/f", Follow::NotLast), "a/f|");
    check("a l@a", "l", "a|");
}

#[test]
fn loops_end() {
    check("l@l", "l", "l: too many levels of symbolic links");
    check("a@b b@/a", "a/x", "a/x: too many levels of symbolic links");
}

#[test]
fn files_are_no_directories() {
    check("a", "a/b", "a: not a directory");
}
