use rbuild_oci::{DiffId, Digest};
use rbuild_solver::{CacheKey, KeyInputs};

use super::*;
use crate::entry::{LayerEntry, Signature};

fn blob(text: &str) -> BlobRef {
    BlobRef {
        media_type: "x".to_owned(),
        digest: Digest::sha256_of(text.as_bytes()),
        size: 10,
    }
}

fn line(keys: &[&str], created: u64, signer: Option<&str>) -> Signed<StepEntry> {
    Signed {
        entry: StepEntry {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            identity: CacheKey::parse(&Digest::sha256_of(b"id").to_string()).unwrap(),
            layer: LayerEntry {
                diff_id: DiffId(Digest::sha256_of(b"diff")),
                blob: blob(&format!("{keys:?} {created}")),
                index: Some(blob("index")),
                made_ns: 7,
            },
            scope: String::new(),
            writer: "w".to_owned(),
            created,
            cost_ms: 1,
            inputs: KeyInputs {
                name: "RUN x".to_owned(),
                op: Digest::sha256_of(b"op"),
                fields: Vec::new(),
                form: 0,
                inputs: Vec::new(),
            },
            lists: Vec::new(),
            inline: false,
        },
        seen: created,
        signature: signer.map(|key| Signature {
            key: key.to_owned(),
            value: String::new(),
        }),
    }
}

fn index(steps: Vec<Signed<StepEntry>>) -> Index {
    Index {
        steps,
        ..Index::default()
    }
}

fn mount(name: &str, created: u64, packs: &[&str]) -> Signed<MountEntry> {
    Signed {
        entry: MountEntry {
            name: name.to_owned(),
            scope: String::new(),
            writer: "w".to_owned(),
            created,
            bytes: 5,
            list: blob(&format!("{name} {created}")),
            packs: packs.iter().map(|pack| blob(pack)).collect(),
        },
        seen: created,
        signature: None,
    }
}

#[test]
fn documents_come_back() {
    let index = index(vec![line(&["a", "b"], 1, None), line(&["c"], 2, Some("k"))]);
    let bytes = index.encode().unwrap();
    assert_eq!(Index::decode(&bytes, "p").unwrap(), index);
    assert_eq!(index.encode().unwrap(), bytes);
}

#[test]
fn one_bad_line_spoils_no_other() {
    let good = index(vec![line(&["a"], 1, None)]);
    let mut text = zstd::decode_all(good.encode().unwrap().as_slice()).unwrap();
    text.extend_from_slice(b"{\"step\":{}}\nnonsense\n{\"later\":1}\n");
    let nameless = serde_json::to_string(&Line::Step(line(&[], 1, None))).unwrap();
    text.extend_from_slice(nameless.as_bytes());
    let read = Index::decode(&zstd::encode_all(text.as_slice(), 1).unwrap(), "p").unwrap();
    assert_eq!((read.steps, read.unreadable), (good.steps, 4));
}

#[test]
fn what_is_no_index_is_told() {
    let packed = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
    let whole = index(vec![line(&["a"], 1, None)]).encode().unwrap();
    let cases = [
        b"".to_vec(),
        b"{}".to_vec(),
        packed(b""),
        packed(b"{\"a\":1}\n"),
        packed(b"{\"rbuild_cache_index\":2}\n"),
        whole[..whole.len() / 2].to_vec(),
    ];
    for bytes in cases {
        let error = Index::decode(&bytes, "local /x").unwrap_err().to_string();
        assert!(
            error.contains("the index in the cache local /x cannot be read"),
            "{error}"
        );
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let mut text = b"{\"rbuild_cache_index\":1}\n".to_vec();
    text.resize(8 << 20, b' ');
    let error = Index::decode(&zstd::encode_all(text.as_slice(), 1).unwrap(), "p");
    assert!(matches!(error, Err(Error::TooLarge { .. })), "{error:?}");
}

#[test]
fn merging_keeps_the_newest_of_each_signer_and_nobody_displaces_another() {
    let mut all = index(vec![line(&["a"], 1, Some("main")), line(&["b"], 5, None)]);
    all.merge(index(vec![
        line(&["a"], 9, None),
        line(&["a"], 2, Some("main")),
        line(&["b"], 4, None),
        line(&["c", "b"], 3, None),
    ]));
    let kept: Vec<_> = all
        .steps
        .iter()
        .map(|line| (line.entry.keys.join("+"), line.entry.created))
        .collect();
    let kept: Vec<_> = kept.iter().map(|(keys, at)| (keys.as_str(), *at)).collect();
    assert_eq!(kept, [("a", 9), ("b", 5), ("c+b", 3), ("a", 2)]);
    let mut other = line(&["a"], 1, None);
    other.entry.scope = "pr".to_owned();
    all.merge(index(vec![other.clone()]));
    assert_eq!(all.steps.last(), Some(&other));
    let again = all.clone();
    all.merge(again.clone());
    assert_eq!(all, again);
}

#[test]
fn a_later_use_of_the_same_entry_is_kept() {
    let mut one = index(vec![line(&["a"], 1, None)]);
    let mut used = line(&["a"], 1, None);
    used.seen = 77;
    one.merge(index(vec![used]));
    assert_eq!(one.steps.len(), 1);
    assert_eq!(one.steps[0].seen, 77);
}

#[test]
fn losses_are_noticed() {
    let own = index(vec![line(&["a", "b"], 3, None)]);
    assert!(!own.lacks(&own));
    assert!(Index::default().lacks(&own));
    assert!(index(vec![line(&["a"], 9, None)]).lacks(&own));
    assert!(index(vec![line(&["a", "b"], 2, None)]).lacks(&own));
    assert!(index(vec![line(&["a", "b"], 9, Some("k"))]).lacks(&own));
    assert!(!index(vec![line(&["a", "b"], 9, None)]).lacks(&own));
}

#[test]
fn what_is_stale_or_too_much_goes_oldest_first() {
    let mut all = index(vec![
        line(&["a"], 10, None),
        line(&["b"], 20, None),
        line(&["c"], 30, None),
    ]);
    let keep = |unused_secs, max_bytes| Keep {
        unused_secs,
        max_bytes,
    };
    all.drop_stale(keep(20, None), 31);
    assert_eq!(all.steps.len(), 2);
    // Two entries share the blob of their layers' indexes: 30 bytes in all.
    all.drop_stale(keep(100, Some(30)), 31);
    assert_eq!(all.steps.len(), 2);
    all.drop_stale(keep(100, Some(29)), 31);
    assert_eq!(all.steps[0].entry.keys, ["c"]);
    assert_eq!(all.steps.len(), 1);
    assert_eq!(all.blobs().len(), 2);
}

#[test]
fn mounts_are_lines_as_steps_are() {
    let mut all = index(vec![line(&["a"], 10, None)]);
    all.mounts = vec![mount("m", 10, &["p", "q"])];
    let read = Index::decode(&all.encode().unwrap(), "p").unwrap();
    assert_eq!(read, all);
    assert_eq!(all.blobs().len(), 5);
    let other = Index {
        mounts: vec![mount("m", 11, &["q"]), mount("n", 9, &[])],
        ..Index::default()
    };
    assert!(all.lacks(&other) && !all.lacks(&read));
    all.merge(other.clone());
    assert!(!all.lacks(&other) && !all.lacks(&read));
    let names: Vec<_> = all.mounts.iter().map(|line| &line.entry.name[..]).collect();
    assert_eq!(names, ["m", "n"]);
    // The step and the newer mount need 40 bytes.
    let keep = |unused_secs, max_bytes| Keep {
        unused_secs,
        max_bytes,
    };
    let mut few = all.clone();
    few.drop_stale(keep(100, Some(40)), 12);
    assert_eq!((few.steps.len(), few.mounts.len()), (1, 1));
    few.drop_stale(keep(100, Some(39)), 12);
    assert_eq!((few.steps.len(), few.mounts.len()), (0, 1));
    all.drop_stale(keep(2, None), 12);
    assert_eq!((all.steps.len(), all.mounts.len()), (1, 1));
}

#[test]
fn an_entry_has_no_more_lists_than_inputs() {
    let mut bloated = line(&["a"], 1, None);
    bloated.entry.lists = vec![blob("list"); 30_000];
    let bytes = index(vec![bloated, line(&["b"], 1, None)])
        .encode()
        .unwrap();
    let read = Index::decode(&bytes, "here").unwrap();
    assert_eq!((read.steps.len(), read.unreadable), (1, 1));
}
