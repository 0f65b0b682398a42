//! Merging, as data: a stack in a few lines, and what shows of it.

use super::*;
use crate::Mtime;

struct NoBytes;

impl LayerBytes for NoBytes {
    fn open(&self, layer: &LayerId, _: &[u8]) -> Result<Box<dyn Read + Send>> {
        Err(Error::Gone { layer: *layer })
    }
}

/// One entry per word: `a/b` a file whose content is its layer's number, `a/` a directory of mode
/// 0700, `a/!` an opaque one, `-a` a whiteout, `a>b` a link to the leader b, `a@b` a symlink.
fn layer(number: u8, words: &str) -> ViewLayer {
    let time = Mtime::from_secs(number.into());
    let entry = |word: &str| -> Entry {
        if let Some(path) = word.strip_prefix('-') {
            return Entry::whiteout(path, time);
        }
        if let Some((path, leader)) = word.split_once('>') {
            let leader = leader.into();
            return Entry::new(path, Kind::Hardlink { leader }, 0o644, time);
        }
        if let Some((path, target)) = word.split_once('@') {
            let target = target.into();
            return Entry::new(path, Kind::Symlink { target }, 0o777, time);
        }
        if let Some(path) = word.strip_suffix("/!") {
            let (opaque, implied) = (true, false);
            return Entry::new(path, Kind::Dir { opaque, implied }, 0o700, time);
        }
        if let Some(path) = word.strip_suffix('/') {
            return Entry::new(path, Kind::dir(), 0o700, time);
        }
        let content = ContentDigest::of(&[number]);
        Entry::new(word, Kind::File { size: 1, content }, 0o644, time)
    };
    ViewLayer {
        id: LayerId::from_bytes([number; 16]),
        index: Arc::new(LayerIndex::new(words.split_whitespace().map(entry).collect()).unwrap()),
    }
}

fn view(stack: &[&str]) -> View {
    let layers = stack.iter().zip(1..).map(|(words, at)| layer(at, words));
    View::new(layers.collect(), Arc::new(NoBytes))
}

fn list(view: &View, dir: &[u8], out: &mut Vec<String>) {
    for name in view.read_dir(dir).unwrap() {
        let path = path::join(dir, &name);
        let node = view.lstat(&path).unwrap().unwrap();
        let text = String::from_utf8_lossy(&path).into_owned();
        let from = node.mtime.secs;
        if node.is_dir() {
            out.push(format!("{text}/{from}"));
            list(view, &path, out);
        } else {
            out.push(format!("{text}:{from}"));
        }
    }
}

/// The merged tree: each path with the number of the layer that decides its metadata.
#[track_caller]
fn check(stack: &[&str], expected: &str) {
    let mut out = Vec::new();
    list(&view(stack), b"", &mut out);
    assert_eq!(out.join(" "), expected);
}

#[test]
fn upper_layers_win() {
    check(&["a b", "b c"], "a:1 b:2 c:2");
}

#[test]
fn whiteouts_hide_the_layers_below_only() {
    check(&["a b", "-a", "a"], "a:3 b:1");
    check(&["a b", "-a"], "b:1");
    check(&["d/a d/b", "-d", "d/c"], "d/0 d/c:3");
}

#[test]
fn opaque_directories_hide_what_is_below_them() {
    check(&["d/ d/a d/s/x", "d/! d/b"], "d/2 d/b:2");
    check(&["d/a", "d/!", "d/c"], "d/2 d/c:3");
}

#[test]
fn implied_parents_take_their_metadata_from_below() {
    check(&["tmp/", "tmp/x"], "tmp/1 tmp/x:2");
    check(&["tmp/", "tmp/", "tmp/x"], "tmp/2 tmp/x:3");
    check(&["tmp/x"], "tmp/0 tmp/x:1");
}

#[test]
fn files_and_directories_replace_each_other() {
    check(&["d/a", "d"], "d:2");
    check(&["d", "d/a"], "d/0 d/a:2");
    check(&["d/old", "d", "d/ d/new"], "d/3 d/new:3");
}

#[test]
fn an_opaque_root_hides_all() {
    let mut top = layer(2, "b");
    let index = LayerIndex::clone(&top.index).with_opaque_root(crate::OpaqueRoot::Yes);
    top.index = Arc::new(index);
    let view = View::new(vec![layer(1, "a"), top], Arc::new(NoBytes));
    assert_eq!(view.read_dir(b"").unwrap(), [b"b"]);
    assert_eq!(view.lstat(b"a").unwrap(), None);
}

#[test]
fn links_share_a_group_and_the_leaders_bytes() {
    let view = view(&["x", "a b>a"]);
    let group = |path: &[u8]| view.lstat(path).unwrap().unwrap().links;
    assert!(group(b"a").is_some());
    assert_eq!(group(b"a"), group(b"b"));
    assert_eq!(group(b"x"), None);
    assert_eq!(view.content(b"b").unwrap(), ContentDigest::of(&[2]));
}

#[test]
fn a_link_into_a_lower_layer_is_a_copy_of_its_file() {
    let view = view(&["a", "b>a", "-a"]);
    let node = view.lstat(b"b").unwrap().unwrap();
    assert_eq!(node.kind, NodeKind::File { size: 1 });
    assert_eq!(node.links, None);
    let ByteSource::InLayer { layer, path } = view.bytes(b"b").unwrap() else {
        panic!("bytes of a view are in a layer");
    };
    assert_eq!((layer, &*path), (LayerId::from_bytes([1; 16]), &b"a"[..]));
}

#[test]
fn a_link_to_nothing_is_an_error() {
    let view = view(&["a", "b>c"]);
    assert!(matches!(view.lstat(b"b"), Err(Error::NotFound { .. })));
    assert!(matches!(view.open(b"b"), Err(Error::NotFound { .. })));
}

#[test]
fn wrong_kinds_are_named() {
    let view = view(&["a d/x l@a"]);
    assert!(matches!(
        view.read_dir(b"a"),
        Err(Error::NotADirectory { .. })
    ));
    assert!(matches!(view.read_dir(b"n"), Err(Error::NotFound { .. })));
    assert!(matches!(view.content(b"d"), Err(Error::NotAFile { .. })));
    assert!(matches!(view.content(b"l"), Err(Error::NotAFile { .. })));
    assert_eq!(view.lstat(b"a/b").unwrap(), None);
}

#[test]
fn inline_bytes_need_no_store() {
    let content = ContentDigest::of(b"root");
    let kind = Kind::File { size: 4, content };
    let entry = Entry::new("etc/passwd", kind, 0o644, Mtime::default());
    let index = LayerIndex::new(vec![entry]).unwrap();
    let index = index.with_inline(b"etc/passwd", b"root".as_slice().into());
    let id = LayerId::from_bytes([1; 16]);
    let index = Arc::new(index);
    let view = View::new(vec![ViewLayer { id, index }], Arc::new(NoBytes));
    let mut text = String::new();
    let mut file = view.open(b"etc/passwd").unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "root");
}

/// Brings the layers that a few lines describe, and notes which.
struct Noted {
    layers: Vec<ViewLayer>,
    asked: std::sync::Mutex<Vec<u8>>,
}

impl LayerIndexes for Noted {
    fn indexes(&self, layers: &[LayerId]) -> Result<Vec<Arc<LayerIndex>>> {
        let bring = |id: &LayerId| {
            let at = self.layers.iter().position(|layer| layer.id == *id);
            let at = at.ok_or(Error::UnknownLayer { layer: *id })?;
            self.asked.lock().unwrap().push(at as u8 + 1);
            Ok(Arc::clone(&self.layers[at].index))
        };
        layers.iter().map(bring).collect()
    }
}

/// Asks a lazy view of a stack for a path, and then says which layers were looked into, by number.
#[track_caller]
fn check_lazy(stack: &[&str], path: &str, (from, looked): (Option<i64>, &[u8])) {
    let layers: Vec<ViewLayer> = stack.iter().zip(1..).map(|(w, at)| layer(at, w)).collect();
    let ids: Vec<LayerId> = layers.iter().map(|layer| layer.id).collect();
    let noted = Arc::new(Noted {
        layers,
        asked: Default::default(),
    });
    let view = View::lazy(&ids, Arc::clone(&noted) as _, Arc::new(NoBytes));
    let node = view.lstat(path.as_bytes()).unwrap();
    assert_eq!(node.map(|node| node.mtime.secs), from, "{stack:?} {path}");
    assert_eq!(*noted.asked.lock().unwrap(), looked, "{stack:?} {path}");
}

#[test]
fn a_lazy_view_looks_no_deeper_than_the_answer() {
    check_lazy(&["d/ d/a b", "d/ d/a"], "d/a", (Some(2), &[2]));
    check_lazy(&["d/ d/a b", "d/ d/a"], "b", (Some(1), &[2, 1]));
    check_lazy(&["d/ d/a b", "d/ d/a"], "d", (Some(2), &[2]));
    check_lazy(&["a", "-a", "b"], "a", (None, &[3, 2]));
    check_lazy(&["d/a", "d/!", "b"], "d/a", (None, &[3, 2]));
    check_lazy(&["d/a", "d", "b"], "d/a", (None, &[3, 2]));
    check_lazy(&["d/a", "d", "d/b"], "d/a", (None, &[3, 2]));
    // A directory that is only implied takes its metadata from further below.
    check_lazy(&["d/", "d/a", "d/b"], "d", (Some(1), &[3, 2, 1]));
    check_lazy(&["a"], "n", (None, &[1]));
}

#[test]
fn a_lazy_view_merges_as_one_that_knows_all() {
    let stack = ["d/a d/b x l@x", "d/! d/c -x", "d/c/e y"];
    let layers: Vec<ViewLayer> = stack.iter().zip(1..).map(|(w, at)| layer(at, w)).collect();
    let ids: Vec<LayerId> = layers.iter().map(|layer| layer.id).collect();
    let asked = Default::default();
    let lazy = View::lazy(&ids, Arc::new(Noted { layers, asked }), Arc::new(NoBytes));
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    list(&view(&stack), b"", &mut expected);
    list(&lazy, b"", &mut found);
    assert_eq!(found, expected);
}

#[test]
fn an_index_that_cannot_be_brought_is_an_error_of_the_question() {
    let noted = Noted {
        layers: vec![layer(2, "a")],
        asked: Default::default(),
    };
    let ids = [LayerId::from_bytes([1; 16]), LayerId::from_bytes([2; 16])];
    let view = View::lazy(&ids, Arc::new(noted), Arc::new(NoBytes));
    assert!(view.lstat(b"a").unwrap().is_some());
    assert!(matches!(view.lstat(b"b"), Err(Error::UnknownLayer { .. })));
    assert!(matches!(
        view.read_dir(b""),
        Err(Error::UnknownLayer { .. })
    ));
}
