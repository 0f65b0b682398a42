//! Comparisons as data: what is below, what the upper has, what the layer is.

use std::io::Read;
use std::sync::Arc;

use super::*;
use crate::{Error, LayerBytes, LayerId, Mtime, View, ViewLayer, Xattrs};

struct NoBytes;

impl LayerBytes for NoBytes {
    fn open(&self, layer: &LayerId, _: &[u8]) -> Result<Box<dyn Read + Send>> {
        Err(Error::Gone { layer: *layer })
    }
}

/// One entry: a path with a suffix for its kind, then what differs from the usual.
///
/// Suffixes: `/` directory, `/!` opaque directory, `@x` symbolic link, `%` socket; a leading `-` is
/// a whiteout. Options after commas: `m` mode, `u` owner, `t` time, `n` nanoseconds, `c` content
/// (its length is the size), `i` inode, `k` capability.
fn parse(word: &str) -> Listed {
    let mut parts = word.split(',');
    let name = parts.next().unwrap_or_default();
    let file = |content: &str| Kind::File {
        size: content.len() as u64,
        content: ContentDigest::of(content.as_bytes()),
    };
    let dir = |opaque| Kind::Dir {
        opaque,
        implied: false,
    };
    let (path, kind) = if let Some(path) = name.strip_prefix('-') {
        (path, Kind::Whiteout)
    } else if let Some((path, target)) = name.split_once('@') {
        let target = target.into();
        (path, Kind::Symlink { target })
    } else if let Some(path) = name.strip_suffix("/!") {
        (path, dir(true))
    } else if let Some(path) = name.strip_suffix('/') {
        (path, dir(false))
    } else if let Some(path) = name.strip_suffix('%') {
        (path, Kind::Socket)
    } else {
        (name, file("x"))
    };
    let mut entry = Entry::new(path, kind, 0o755, Mtime::from_secs(1));
    let mut inode = None;
    for option in parts {
        let (key, value) = option.split_at(1);
        let number = value.parse().unwrap_or(0);
        match key {
            "m" => entry.mode = u32::from_str_radix(value, 8).unwrap(),
            "u" => entry.uid = number,
            "t" => entry.mtime.secs = number.into(),
            "n" => entry.mtime.nanos = number,
            "c" => entry.kind = file(value),
            "i" => inode = Some(Inode(0, number.into())),
            "k" => {
                let name = b"security.capability".to_vec();
                entry.xattrs = Xattrs::from([(name, value.into())]);
            }
            _ => panic!("unknown option {option}"),
        }
    }
    Listed { entry, inode }
}

fn settled(below: &str, upper: &str, ids: Ids) -> LayerIndex {
    let layer = below.split_whitespace().map(|word| parse(word).entry);
    let id = LayerId::from_bytes([0; 16]);
    let index = Arc::new(LayerIndex::new(layer.collect()).unwrap());
    let view = View::new(vec![ViewLayer { id, index }], Arc::new(NoBytes));
    let mut listed: Vec<Listed> = upper.split_whitespace().map(parse).collect();
    listed.sort_by(|a, b| path::compare(&a.entry.path, &b.entry.path));
    let digests = listed.iter().filter_map(|item| match item.entry.kind {
        Kind::File { content, .. } => Some((item.entry.path.clone(), content)),
        _ => None,
    });
    let digests = digests.collect();
    let changes = changes(&listed, &view, ids, &CancelToken::new()).unwrap();
    settle(changes, &digests).unwrap()
}

fn show(index: &LayerIndex) -> String {
    let words = index.entries().iter().map(|entry| {
        let path = String::from_utf8_lossy(&entry.path);
        match &entry.kind {
            Kind::Whiteout => format!("-{path}"),
            Kind::Dir { opaque: true, .. } => format!("{path}/!"),
            Kind::Dir { .. } => format!("{path}/"),
            Kind::Hardlink { leader } => format!("{path}>{}", String::from_utf8_lossy(leader)),
            Kind::Symlink { target } => format!("{path}@{}", String::from_utf8_lossy(target)),
            _ => path.into_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(below: &str, upper: &str, expected: &str) {
    assert_eq!(show(&settled(below, upper, Ids::All)), expected);
}

#[test]
fn new_things_are_in() {
    check("", "a d/ d/f l@x", "a d/ d/f l@x");
    check("", "d/", "d/");
}

#[test]
fn what_is_the_same_is_out() {
    check("d/ d/f", "d/ d/f", "");
    check("f,n5", "f,n5", "");
    check("l@x", "l@x", "");
}

#[test]
fn every_attribute_that_counts_is_seen() {
    check("f", "f,m644", "f");
    check("f", "f,u5", "f");
    check("f", "f,t2", "f");
    check("f,n5", "f,n6", "f");
    check("f", "f,kx", "f");
    check("f", "f,cyy", "f");
    check("d/", "d/,m700", "d/");
    check("l@x", "l@y", "l@y");
}

#[test]
fn the_time_of_a_directory_does_not_count() {
    check("d/", "d/,t9", "");
}

#[test]
fn content_is_compared_only_where_times_are_rounded() {
    check("f,cx", "f,cy", "f");
    check("f,cx", "f,cx", "");
    check("f,cx,n5", "f,cy,n5", "");
    check("f,c", "f,c", "");
}

#[test]
fn parents_of_changes_are_in() {
    check(
        "a/ a/b/ a/b/f a/c/",
        "a/ a/b/ a/b/f,t2 a/c/",
        "a/ a/b/ a/b/f",
    );
    check("a/ a/b/ a/b/f", "a/ a/b/ -a/b/f", "a/ a/b/ -a/b/f");
}

#[test]
fn whiteouts_of_nothing_are_out() {
    check("a", "-b", "");
    check("d/ d/a", "d/ -d/b", "");
    check("a", "-a", "-a");
}

#[test]
fn kinds_that_change_are_in() {
    check("a/ a/f", "a", "a");
    check("a", "a/ a/f", "a/ a/f");
    check("a", "a@x", "a@x");
}

#[test]
fn opaque_directories_become_whiteouts() {
    check("d/ d/a d/b", "d/! d/b,t2 d/c", "d/ -d/a d/b d/c");
    check("d/ d/a", "d/!", "d/ -d/a");
    check(
        "d/ d/s/ d/s/x d/s/y",
        "d/! d/s/ d/s/x,t2",
        "d/ d/s/ d/s/x -d/s/y",
    );
    check("d/ d/a d/b", "d/! d/a", "d/ -d/b");
    check("", "d/! d/a", "d/ d/a");
    check("d", "d/! d/a", "d/ d/a");
    check("d/ d/a d/b", "d/! -d/a", "d/ -d/a -d/b");
    check("d/ d/a e/ e/f", "d/! e/ -e/f", "d/ -d/a e/ -e/f");
}

#[test]
fn names_of_one_file_are_links_to_the_first() {
    check("", "a,i1 b,i1 c,i2 d,i2", "a b>a c d>c");
    check("a", "a,i1 b,i1", "b");
    check("a", "a,i1,t2 b,i1,t2", "a b>a");
    check("", "d/ d/a,i1 b,i1", "b d/ d/a>b");
}

#[test]
fn sockets_are_out_and_hide_what_was_there() {
    check("", "s%", "");
    check("d/ d/s", "d/! d/s%", "d/ -d/s");
}

#[test]
fn with_one_id_owners_come_from_below() {
    let index = settled("f,u7 g,u7", "f,u0 g,u0,t2 h,u0", Ids::Single);
    assert_eq!(show(&index), "g h");
    assert_eq!(index.get(b"g").map(|entry| entry.uid), Some(7));
    assert_eq!(index.get(b"h").map(|entry| entry.uid), Some(0));
}
