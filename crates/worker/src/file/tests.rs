//! What COPY and ADD make of trees, as data: no store, no mount, no privilege.
//!
//! Trees are written as `tree` says; a layer comes out in the same form, with times.

use rbuild_graph::{Chmod, CopyAction, Owner, OwnerId};
use rbuild_layer::{Kind, Mtime, NewLayer};
use rbuild_progress::CancelToken;
use rbuild_source::select;

use super::copy::{From, copy};
use super::draft::Draft;
use super::owner::{Accounts, look_up};
use super::place::Style;
use super::tree::{Tree, tar};

fn action(sources: &[&str], dest: &str) -> CopyAction {
    let dir = dest.ends_with('/');
    CopyAction {
        input: 0,
        sources: sources.iter().map(|s| format!("/{s}")).collect(),
        dest: format!("/{}", dest.trim_matches('/')),
        dest_is_dir: dir,
        owner: None,
        chmod: None,
        excludes: Vec::new(),
        parents: false,
        unpack: false,
        local: true,
    }
}

fn run(base: &str, source: &str, action: &CopyAction) -> Result<String, String> {
    run_trees(&Tree::new(base), &Tree::new(source), action)
}

fn run_trees(base: &Tree, source: &Tree, action: &CopyAction) -> Result<String, String> {
    let cancel = CancelToken::new();
    let dir = tempfile::tempdir().expect("a directory");
    let store = rbuild_store::Store::open(&dir.path().join("store")).expect("a store");
    let selection = select(source, action, &cancel).map_err(|e| e.to_string())?;
    let owner = match &action.owner {
        Some(owner) => Some(look_up(owner, base, Accounts::OfRoot).map_err(|e| e.to_string())?),
        None => None,
    };
    let style = Style {
        owner: owner.map(|found| found.ids),
        chmod: action.chmod.clone(),
        now: Mtime::from_secs(2000),
    };
    let from = From {
        view: source,
        store: &store,
        limits: rbuild_source::RemoteLimits::default(),
        cancel: &cancel,
    };
    let mut draft = Draft::new(base);
    copy(&mut draft, &from, action, &selection, &style).map_err(|e| e.to_string())?;
    Ok(listing(&draft.finish().map_err(|e| e.to_string())?))
}

fn listing(layer: &NewLayer) -> String {
    let mut lines = Vec::new();
    for entry in layer.entries.iter().map(|new| new.entry()) {
        let what = match &entry.kind {
            Kind::Dir { .. } => format!("d{:o}", entry.mode),
            Kind::File { size, .. } => format!("f{:o}:{size}", entry.mode),
            Kind::Symlink { target } => format!("l={}", String::from_utf8_lossy(target)),
            Kind::Hardlink { leader } => format!("h={}", String::from_utf8_lossy(leader)),
            other => format!("{other:?}"),
        };
        let owner = match (entry.uid, entry.gid) {
            (0, 0) => String::new(),
            (uid, gid) => format!("@{uid}:{gid}"),
        };
        let time = entry.mtime.secs;
        lines.push(format!(
            "{} {what}{owner} t{time}",
            String::from_utf8_lossy(&entry.path)
        ));
    }
    lines.join("; ")
}

#[track_caller]
fn check(base: &str, source: &str, action: &CopyAction, expected: &str) {
    match run(base, source, action) {
        Ok(got) => assert_eq!(got, expected),
        Err(e) => assert_eq!(format!("error: {e}"), expected),
    }
}

#[test]
fn a_file_becomes_the_destination_or_lands_in_it() {
    let source = "a f644=x";
    check("", source, &action(&["a"], "b"), "b f644:1 t1000");
    check(
        "",
        source,
        &action(&["a"], "d/"),
        "d d755 t2000; d/a f644:1 t1000",
    );
    check(
        "d d700",
        source,
        &action(&["a"], "d"),
        "d d700 t1000; d/a f644:1 t1000",
    );
}

#[test]
fn a_directory_gives_its_content_and_its_time_but_not_its_mode() {
    let source = "s d750\ns/f f600=ab\ns/n d711\ns/n/g f644=c";
    check(
        "",
        source,
        &action(&["s"], "x"),
        "x d755 t1000; x/f f600:2 t1000; x/n d711 t1000; x/n/g f644:1 t1000",
    );
}

#[test]
fn nested_directories_take_the_sources_metadata_also_where_they_exist() {
    check(
        "x d700\nx/n d700",
        "s d755\ns/n d711\ns/n/g f644=c",
        &action(&["s"], "x"),
        "x d700 t1000; x/n d711 t1000; x/n/g f644:1 t1000",
    );
}

#[test]
fn putting_equal_files_again_changes_nothing() {
    let tree = "d d755\nd/f f644=same";
    check(tree, tree, &action(&["d"], "d"), "");
}

#[test]
fn links_at_the_destination_are_followed_inside_the_root() {
    let source = "a f644=x";
    let base = "real d755\nreal/t f644=old\nflink l=/real/t\ndlink l=real\ngone l=/real/new";
    let made = "real d755 t1000; real/t f644:1 t1000";
    check(base, source, &action(&["a"], "flink"), made);
    check(
        base,
        source,
        &action(&["a"], "dlink/"),
        "real d755 t1000; real/a f644:1 t1000",
    );
    check(
        base,
        source,
        &action(&["a"], "gone"),
        "real d755 t1000; real/new f644:1 t1000",
    );
    let up = "up l=../../../../etc";
    check(
        up,
        source,
        &action(&["a"], "up/"),
        "etc d755 t2000; etc/a f644:1 t1000",
    );
}

#[test]
fn links_named_as_sources_are_followed_and_found_ones_are_kept() {
    let source = "t f644=xy\nln l=t\nd d755\nd/in l=/nowhere";
    check(
        "",
        source,
        &action(&["ln"], "o/"),
        "o d755 t2000; o/ln f644:2 t1000",
    );
    check(
        "",
        source,
        &action(&["d"], "o"),
        "o d755 t1000; o/in l=/nowhere t1000",
    );
}

#[test]
fn wildcards_flatten_directories_and_may_match_nothing() {
    let source = "src d755\nsrc/a f644=1\nsrv f644=22\nx f644=3";
    check(
        "",
        source,
        &action(&["sr*"], "o/"),
        "o d755 t1000; o/a f644:1 t1000; o/srv f644:2 t1000",
    );
    check("", source, &action(&["nothing*"], "o/"), "");
}

#[test]
fn a_missing_plain_source_is_an_error() {
    let text =
        "error: failed to compute cache key: failed to calculate checksum: \"/no\": not found";
    check("", "a f644=1", &action(&["no"], "b"), text);
}

#[test]
fn several_files_to_one_name_overwrite_each_other() {
    let source = "a f644=1\nb f600=22";
    check("", source, &action(&["a", "b"], "o"), "o f600:2 t1000");
}

#[test]
fn octal_chmod_hits_files_directories_and_parents_made() {
    let mut copy = action(&["f"], "a/b/");
    copy.chmod = Some(Chmod::Octal(0o640));
    check(
        "",
        "f f755=1",
        &copy,
        "a d640 t2000; a/b d640 t2000; a/b/f f640:1 t1000",
    );
    copy.chmod = Some(Chmod::Symbolic("u+X,go-rwx".to_owned()));
    check(
        "",
        "f f755=1",
        &copy,
        "a d755 t2000; a/b d755 t2000; a/b/f f700:1 t1000",
    );
}

#[test]
fn set_id_and_sticky_bits_of_an_octal_chmod_are_not_for_directories_made_on_the_way() {
    let mut copy = action(&["s"], "a/o/");
    copy.chmod = Some(Chmod::Octal(0o7750));
    check(
        "",
        "s d700\ns/d d700\ns/d/f f600=1",
        &copy,
        "a d750 t2000; a/o d750 t1000; a/o/d d7750 t1000; a/o/d/f f7750:1 t1000",
    );
}

#[test]
fn owners_are_looked_up_in_the_base_and_unknown_names_are_root() {
    let base = "etc d755\netc/passwd f644=app:x:7:8::/:/bin/sh\netc/group f644=web:x:9:";
    let owner = |user: &str, group: Option<&str>| {
        Some(Owner {
            user: OwnerId::Name(user.to_owned()),
            group: group.map(|name| OwnerId::Name(name.to_owned())),
        })
    };
    let mut copy = action(&["f"], "o/");
    copy.owner = owner("app", None);
    check(
        base,
        "f f644=1",
        &copy,
        "o d755@7:8 t2000; o/f f644:1@7:8 t1000",
    );
    copy.owner = owner("app", Some("web"));
    check(
        base,
        "f f644=1",
        &copy,
        "o d755@7:9 t2000; o/f f644:1@7:9 t1000",
    );
    copy.owner = owner("nobodyx", None);
    check(base, "f f644=1", &copy, "o d755 t2000; o/f f644:1 t1000");
}

#[test]
fn kinds_that_do_not_fit_are_errors() {
    let file = "a f644=1";
    check(
        "x d755\nx/a d755",
        file,
        &action(&["a"], "x"),
        "error: cannot replace to directory /x/a with file",
    );
    check(
        "x f644=1",
        file,
        &action(&["a"], "x/"),
        "error: mkdir /x: not a directory",
    );
    check(
        "x f644=1",
        "d d755\nd/f f644=1",
        &action(&["d"], "x"),
        "error: cannot copy to non-directory: /x",
    );
}

#[test]
fn excludes_are_relative_to_each_source_directory() {
    let source = "d d755\nd/keep f644=1\nd/drop f644=1\nd/only d755\nd/only/drop f644=1";
    let mut copy = action(&["d"], "o");
    copy.excludes = vec!["**/drop".to_owned()];
    check(
        "",
        source,
        &copy,
        "o d755 t1000; o/keep f644:1 t1000; o/only d755 t1000",
    );
    let mut file = action(&["d/drop"], "o/");
    file.excludes = vec!["drop".to_owned()];
    check("", source, &file, "o d755 t2000; o/drop f644:1 t1000");
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let source = "a d750\na/b d711\na/b/f f644=1\na/g f644=1";
    let mut copy = action(&["a/b/f"], "o/");
    copy.parents = true;
    check(
        "",
        source,
        &copy,
        "o d755 t2000; o/a d750 t2000; o/a/b d711 t2000; o/a/b/f f644:1 t1000",
    );
    let mut pivot = action(&["a/./b/f"], "o/");
    pivot.parents = true;
    check(
        "",
        source,
        &pivot,
        "o d755 t2000; o/b d711 t2000; o/b/f f644:1 t1000",
    );
    let mut gone = action(&["a/x"], "o/");
    gone.parents = true;
    let text =
        "error: failed to compute cache key: failed to calculate checksum: \"/a/x\": not found";
    check("", source, &gone, text);
}

#[test]
fn a_pivot_may_stand_behind_wildcards() {
    let source = "m1 d755\nm1/src d700\nm1/src/a f644=1\nm2 d755\nm2/src d711\nm2/src/b f644=2\n\
                  m3 f644=3\nm4 d755";
    let parents = |source: &str| CopyAction {
        parents: true,
        ..action(&[source], "o/")
    };
    check(
        "",
        source,
        &parents("m*/./src/*"),
        "o d755 t2000; o/src d711 t2000; o/src/a f644:1 t1000; o/src/b f644:1 t1000",
    );
    check(
        "",
        source,
        &parents("m?/./src/b"),
        "o d755 t2000; o/src d711 t2000; o/src/b f644:1 t1000",
    );
    check("", source, &parents("x*/./src/b"), "");
}

#[test]
fn parents_of_nothing_still_make_the_destination() {
    for pattern in ["a/*.c", "a/./*.c", "b*/f"] {
        let mut copy = action(&[pattern], "o/");
        copy.parents = true;
        check("", "a d755\na/f f644=1", &copy, "o d755 t2000");
    }
}

#[test]
fn nothing_behind_the_pivot_means_all_of_it() {
    let mut copy = action(&["a/./"], "o/");
    copy.parents = true;
    check(
        "",
        "a d700\na/d d711\na/d/f f644=1",
        &copy,
        "o d755 t2000; o/d d711 t1000; o/d/f f644:1 t1000",
    );
}

#[test]
fn names_of_one_file_stay_so_and_are_no_change_when_they_were() {
    let tree = "d d755\nd/a f644=x#1\nd/b f644=x#1";
    let made = "d d755 t1000; d/a f644:1 t1000; d/b h=d/a t1000";
    check("", tree, &action(&["d"], "d"), made);
    check(tree, tree, &action(&["d"], "d"), "");
    // Equal in all else, but not one file before.
    check(
        "d d755\nd/a f644=x\nd/b f644=x",
        tree,
        &action(&["d"], "d"),
        made,
    );
    check(
        "d d755\nd/a f600=x#1\nd/b f600=x#1",
        tree,
        &action(&["d"], "d"),
        made,
    );
}

#[test]
fn a_socket_becomes_an_empty_file() {
    check(
        "",
        "s s600",
        &action(&["s"], "o/"),
        "o d755 t2000; o/s f600:0 t1000",
    );
}

#[test]
fn only_archives_are_unpacked_whatever_they_are_called() {
    // `text` and a newline as gzip writes it, without a name and a time.
    let gzipped =
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x2b\x49\xad\x28\xe1\x02\0\x27\xda\xec\x37\x05\0\0\0";
    let unpack = |source: &Tree, file: &str, unpack: bool| {
        let mut add = action(&[file], "o/");
        add.unpack = unpack;
        run_trees(&Tree::new(""), source, &add).expect("it can be added")
    };
    for (name, bytes) in [
        ("text.tar.gz", gzipped.to_vec()),
        ("text.tar", b"no archive".to_vec()),
        ("empty.tar", Vec::new()),
    ] {
        let size = bytes.len();
        let copied = format!("o d755 t2000; o/{name} f644:{size} t1000");
        assert_eq!(unpack(&Tree::of_file(name, bytes), name, true), copied);
    }
    let archive = Tree::of_file("x", tar(&[("f", 0o600, 0, Ok("1"))]));
    assert_eq!(
        unpack(&archive, "x", true),
        "o d755 t2000; o/f f600:1 t3000"
    );
    let copied = unpack(&archive, "x", false);
    assert!(copied.starts_with("o d755 t2000; o/x f644:"), "{copied}");
}

#[test]
fn a_link_in_an_archive_says_what_all_its_names_are_like() {
    let source = Tree::of_file(
        "x.tar",
        tar(&[
            ("d/m", 0o600, 7, Ok("ab")),
            ("d/other", 0o600, 7, Ok("c")),
            ("d/z", 0o640, 8, Err("d/m")),
            ("d/a", 0o4755, 9, Err("d/z")),
        ]),
    );
    let mut add = action(&["x.tar"], "o/");
    add.unpack = true;
    let expected = "o d755 t2000; o/d d755 t2000; o/d/a f4755:2@9:9 t3009; o/d/m h=o/d/a@9:9 t3009; \
                    o/d/other f600:1@7:7 t3007; o/d/z h=o/d/a@9:9 t3009";
    assert_eq!(
        run_trees(&Tree::new(""), &source, &add).as_deref(),
        Ok(expected)
    );
    add.owner = Some(Owner {
        user: OwnerId::Id(5),
        group: None,
    });
    // Directories that the archive does not name stay root's.
    let expected = "o d755@5:5 t2000; o/d d755 t2000; o/d/a f4755:2@5:5 t3009; o/d/m h=o/d/a@5:5 t3009; \
                    o/d/other f600:1@5:5 t3007; o/d/z h=o/d/a@5:5 t3009";
    assert_eq!(
        run_trees(&Tree::new(""), &source, &add).as_deref(),
        Ok(expected)
    );
}
