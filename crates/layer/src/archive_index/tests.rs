//! What archives do to an index, as data: words in, the resulting index out.

use super::*;
use crate::{Mtime, Xattrs};

/// `a` file, `a/` directory, `a>b` hard link, `a@b` symbolic link; whiteouts by their names.
fn tar_entry(word: &str) -> TarEntry {
    let (path, kind) = if let Some((path, target)) = word.split_once('>') {
        let target = target.into();
        (path, TarKind::Hardlink { target })
    } else if let Some((path, target)) = word.split_once('@') {
        let target = target.into();
        (path, TarKind::Symlink { target })
    } else if word.ends_with('/') {
        (word, TarKind::Dir)
    } else {
        (word, TarKind::File { size: 1 })
    };
    TarEntry {
        path: path.into(),
        kind,
        mode: 0o700,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: Xattrs::new(),
    }
}

/// Puts the words in order; the n-th file's digest is that of its number, its offset too.
fn build(words: &str) -> Result<(LayerIndex, Vec<Offset>, Vec<Effect>)> {
    let mut builder = IndexBuilder::default();
    let mut effects = Vec::new();
    for (at, word) in words.split_whitespace().enumerate() {
        match builder.step(&tar_entry(word))? {
            Step::Nothing => {}
            Step::Opaque(dir) => effects.push(builder.set_opaque(&dir)?),
            Step::Put(entry) => {
                let (path, is_file) = (entry.path.clone(), matches!(entry.kind, Kind::File { .. }));
                effects.push(builder.put(entry)?);
                if is_file {
                    builder.set_file(&path, ContentDigest::of(&[at as u8]), at as u64);
                }
            }
        }
    }
    let (index, offsets) = builder.finish()?;
    Ok((index, offsets, effects))
}

fn show(index: &LayerIndex, offsets: &[Offset]) -> String {
    let mut words: Vec<String> = Vec::new();
    if index.is_root_opaque() {
        words.push("!".to_owned());
    }
    for (entry, offset) in index.entries().iter().zip(offsets) {
        let path = String::from_utf8_lossy(&entry.path);
        words.push(match &entry.kind {
            Kind::File { content, .. } => {
                assert_eq!(*content, ContentDigest::of(&[*offset as u8]));
                format!("{path}={offset}")
            }
            Kind::Hardlink { leader } => format!("{path}>{}", String::from_utf8_lossy(leader)),
            Kind::Symlink { target } => format!("{path}@{}", String::from_utf8_lossy(target)),
            Kind::Whiteout => format!("-{path}"),
            Kind::Dir { opaque, implied } => {
                let mark = if *opaque { "!" } else { "" };
                let implied = if *implied { "?" } else { "" };
                format!("{path}/{mark}{implied}")
            }
            _ => format!("{path}*"),
        });
    }
    words.join(" ")
}

#[track_caller]
fn check(words: &str, expected: &str) {
    let (index, offsets, _) = build(words).unwrap();
    assert_eq!(show(&index, &offsets), expected, "{words}");
}

#[track_caller]
fn refused(words: &str) {
    let outcome = build(words).map(|(index, offsets, _)| show(&index, &offsets));
    assert!(outcome.is_err(), "{words}: {outcome:?}");
}

#[test]
fn any_order_gives_the_same_index() {
    check("a/ a/f b", "a/ a/f=1 b=2");
    check("b a/f a/", "a/ a/f=1 b=0");
    check("./ ./a", "a=1");
}

#[test]
fn missing_parents_are_implied() {
    check("a/b/f", "a/? a/b/? a/b/f=0");
}

#[test]
fn the_last_entry_wins() {
    check("f f", "f=1");
    check("f f/", "f/");
    check("d/f d", "d=1");
    refused("d/f d d/g");
}

#[test]
fn nothing_is_placed_below_what_is_no_directory() {
    refused("a@/etc a/passwd");
    refused("a@. a/b/c");
    refused("a a/b");
    refused("x h>x h/y");
    refused("a@/etc a/.wh.passwd");
    refused("a@/etc a/.wh..wh..opq");
}

#[test]
fn names_that_climb_are_refused() {
    for words in [
        "../x",
        "a/../../x",
        "h>../x",
        "f h>a/../../f",
        ".wh...",
        ".wh..",
        "a/.wh.",
        "../.wh.x",
        "../.wh..wh..opq",
    ] {
        refused(words);
    }
}

#[test]
fn absolute_names_stay_inside() {
    check("/etc/f", "etc/? etc/f=0");
    check("/f /h>/f", "f=0 h>f");
}

#[test]
fn whiteouts_act_on_the_layers_below_only() {
    check(".wh.a", "-a");
    check("d/.wh.a", "d/? -d/a");
    check("a .wh.a", "a=0");
    check(".wh.a a", "a=1");
    check("d/f .wh.d", "d/! d/f=0");
    check(".wh.d d/f", "d/! d/f=1");
    check(".wh.d d/", "d/!");
    check(".wh.d d@x", "d@x");
}

#[test]
fn opaque_marks_stay_with_their_directory() {
    check("d/.wh..wh..opq d/f", "d/! d/f=1");
    check("d/.wh..wh..opq d/", "d/!");
    check("d/ d/.wh..wh..opq", "d/!");
    check(".wh..wh..opq f", "! f=1");
    check("d/.wh..wh.plnk/x d/.wh..wh.plnk/ f", "f=2");
    check(".wh..wh.aufs f", "f=1");
}

#[test]
fn links_find_their_leader() {
    check("a b>a c>b", "a=0 b>a c>a");
    check("x/a y/b>./x//a", "x/? x/a=0 y/? y/b>x/a");
    check("b>below/a", "b>below/a");
}

#[test]
fn links_that_cannot_be_are_refused() {
    refused("a>a");
    refused("d/ h>d");
    refused("a b>a a>b");
    refused("h>/");
    refused(".wh.a h>a");
}

#[test]
fn links_keep_the_bytes_of_a_replaced_leader() {
    check("a b>a a", "a=2 b=0");
    check("d/a b>d/a c>d/a d", "b=0 c>b d=3");
    check("a b>a c>b a@x", "a@x b=0 c>b");
}

#[test]
fn what_replaces_a_link_does_not_touch_its_leader() {
    check("a b>a b", "a=0 b=2");
    check("a b>a b a", "a=3 b=2");
}

#[test]
fn the_root_is_left_alone() {
    check("./ /", "");
    refused(".");
    refused("/@x");
    refused(".@x");
}

#[test]
fn devices_that_mean_whiteouts_to_overlay_are_refused() {
    let mut entry = tar_entry("c");
    entry.kind = TarKind::Char { major: 0, minor: 0 };
    assert!(IndexBuilder::default().step(&entry).is_err());
}

#[test]
fn effects_say_what_a_tree_must_do() {
    let (_, _, effects) = build("d/f d .wh.w w/x").unwrap();
    let paths = |paths: &[&str]| -> Vec<Vec<u8>> { paths.iter().map(|p| (*p).into()).collect() };
    let effect = |removed: &[&str], dirs: &[&str]| Effect {
        removed: paths(removed),
        dirs: paths(dirs),
        relabel: None,
        make: true,
    };
    let expected = [
        effect(&[], &["d"]),
        effect(&["d"], &[]),
        effect(&[], &[]),
        effect(&["w"], &["w"]),
    ];
    assert_eq!(effects, expected);
}

#[test]
fn attributes_of_the_host_are_dropped() {
    let mut entry = tar_entry("f");
    entry.xattrs.insert(b"security.selinux".to_vec(), vec![1]);
    entry
        .xattrs
        .insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    entry.xattrs.insert(b"user.kept".to_vec(), vec![2]);
    let Step::Put(entry) = IndexBuilder::default().step(&entry).unwrap() else {
        panic!("a file is put");
    };
    assert_eq!(entry.xattrs.into_keys().collect::<Vec<_>>(), [b"user.kept"]);
}

#[test]
fn inline_bytes_follow_the_last_file() {
    let mut builder = IndexBuilder::default();
    for at in 0..2u8 {
        let Step::Put(entry) = builder.step(&tar_entry("etc/passwd")).unwrap() else {
            panic!("a file is put");
        };
        builder.put(entry).unwrap();
        if at == 0 {
            builder.set_inline(b"etc/passwd", vec![at]);
        }
    }
    let (index, _) = builder.finish().unwrap();
    assert_eq!(index.inline(b"etc/passwd"), None);
}

#[test]
fn the_last_header_of_a_file_counts_for_all_its_names() {
    let mut builder = IndexBuilder::default();
    let mut relabels = Vec::new();
    let mut put = |word: &str, mode, uid: u32, attribute: Option<&str>| {
        let mut tar = tar_entry(word);
        (tar.mode, tar.uid, tar.mtime) = (mode, uid, Mtime::from_secs(uid.into()));
        tar.xattrs
            .extend(attribute.map(|name| (name.into(), b"1".to_vec())));
        let Step::Put(entry) = builder.step(&tar).unwrap() else {
            panic!("{word} is an entry")
        };
        relabels.push(builder.put(entry).unwrap().relabel.is_some());
    };
    put("a", 0o600, 1, Some("security.capability"));
    put("other", 0o600, 1, None);
    put("b>a", 0o640, 2, Some("user.b"));
    put("c>b", 0o4755, 3, Some("user.c"));
    put("d>a", 0o4755, 3, None);
    // A name that is something else by then is left alone.
    put("b", 0o604, 4, None);
    put("e>a", 0o700, 5, None);
    put("l@x", 0o777, 1, None);
    put("m>l", 0o644, 6, None);
    put("n>below", 0o611, 7, None);
    assert_eq!(
        relabels,
        [
            false, false, true, true, false, false, true, false, true, false
        ]
    );
    let (index, _) = builder.finish().unwrap();
    let check = |path: &str, mode, uid: u32, attributes: &[&str]| {
        let entry = index.get(path.as_bytes()).unwrap();
        assert_eq!((entry.mode, entry.uid), (mode, uid), "{path}");
        assert_eq!(entry.mtime, Mtime::from_secs(uid.into()), "{path}");
        let found: Vec<_> = entry.xattrs.keys().map(Vec::as_slice).collect();
        let expected: Vec<_> = attributes.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(found, expected, "{path}");
    };
    for path in ["a", "c", "d", "e"] {
        check(path, 0o700, 5, &["user.b", "user.c"]);
    }
    check("b", 0o604, 4, &[]);
    check("other", 0o600, 1, &[]);
    check("l", 0o777, 6, &[]);
    check("m", 0o777, 6, &[]);
    check("n", 0o611, 7, &[]);
}
