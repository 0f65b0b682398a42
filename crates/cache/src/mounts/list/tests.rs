use rbuild_layer::{ContentDigest, Mtime};

use super::*;

fn entry(path: &str, kind: Kind) -> Entry {
    Entry::new(path, kind, 0o644, Mtime { secs: 5, nanos: 6 })
}

fn file(path: &str, size: u64) -> Entry {
    let content = ContentDigest::empty();
    entry(path, Kind::File { size, content })
}

fn list(entries: Vec<Entry>) -> List {
    List {
        top: Top {
            mode: 0o755,
            uid: 1,
            gid: 2,
        },
        index: LayerIndex::new(entries).unwrap(),
        packs: vec![BlobRef {
            media_type: PACK_TYPE.to_owned(),
            digest: Digest::sha256_of(b"pack"),
            size: 100,
        }],
        frames: vec![Frame {
            pack: 0,
            offset: 40,
            stored: 60,
            raw: 20_010,
        }],
        chunks: vec![
            Chunk {
                id: [7; 32],
                frame: 0,
                at: 0,
                length: 20_000,
            },
            Chunk {
                id: [8; 32],
                frame: 0,
                at: 20_000,
                length: 10,
            },
        ],
        files: vec![vec![0, 1, 0], vec![]],
    }
}

fn usual() -> List {
    list(vec![
        entry("d", Kind::dir()),
        file("d/a", 40_010),
        entry(
            "l",
            Kind::Hardlink {
                leader: b"d/a".to_vec(),
            },
        ),
        file("z", 0),
    ])
}

#[track_caller]
fn refused(list: &List, reason: &str) {
    let error = List::decode(&list.encode().unwrap()).unwrap_err();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn a_list_round_trips() {
    let list = usual();
    let encoded = list.encode().unwrap();
    assert_eq!(List::decode(&encoded).unwrap(), list);
    assert_eq!(encoded, usual().encode().unwrap());
    assert_eq!(list.total(), 40_010);
}

#[test]
fn what_a_directory_cannot_have_is_refused() {
    let with = |entry: Entry| {
        let mut entries = usual().index.entries().to_vec();
        entries.push(entry);
        list(entries)
    };
    let device = Kind::Block { major: 8, minor: 0 };
    let opaque = Kind::Dir {
        opaque: true,
        implied: false,
    };
    let link = |leader: &str| Kind::Hardlink {
        leader: leader.into(),
    };
    let symlink = |target: &str| Kind::Symlink {
        target: target.into(),
    };
    for kind in [device, opaque, Kind::Socket, Kind::Whiteout] {
        refused(&with(entry("m", kind)), "does not travel");
    }
    refused(&with(entry("m/n", Kind::Fifo)), "does not travel");
    refused(&with(entry("m", link("none"))), "not there");
    refused(&with(entry("a", link("d/a"))), "not there");
    refused(&with(entry("m", symlink(""))), "cannot be made");
    refused(&with(entry("m", symlink("a\0b"))), "cannot be made");
    let mut attribute = entry("m", Kind::Fifo);
    let name = b"trusted.overlay.opaque".to_vec();
    attribute.xattrs.insert(name, b"y".to_vec());
    refused(&with(attribute), "attribute");
    let mut mode = usual();
    mode.top.mode = 0o10755;
    refused(&mode, "itself");
}

#[test]
fn places_that_lead_elsewhere_are_refused() {
    let check = |change: &dyn Fn(&mut List), reason: &str| {
        let mut list = usual();
        change(&mut list);
        refused(&list, reason);
    };
    check(&|l| l.frames[0].pack = 1, "within its pack");
    check(&|l| l.frames[0].offset = u64::MAX, "within its pack");
    check(&|l| l.frames[0].stored = 61, "within its pack");
    check(&|l| l.frames[0].raw = 1 << 21, "within its pack");
    check(&|l| l.packs[0].size = MAX_PACK + 1, "too large");
    check(&|l| l.chunks[1].frame = 1, "within its frame");
    check(&|l| l.chunks[1].length = 11, "within its frame");
    check(&|l| l.chunks[1].at = u32::MAX, "within its frame");
    check(&|l| l.chunks[1].length = 0, "within its frame");
    check(&|l| l.files[0][1] = 2, "not its bytes");
    check(&|l| l.files[0].push(1), "not its bytes");
    check(&|l| l.files[1].push(1), "not its bytes");
    check(&|l| l.files.push(vec![]), "follow its end");
    check(&|l| l.files.truncate(1), "too early");
}

#[test]
fn what_is_no_list_is_told_without_taking_memory() {
    let zeros = zstd::encode_all(std::io::repeat(0).take(1 << 30), 1).unwrap();
    assert!(List::decode(&zeros).unwrap_err().contains("more than"));
    assert!(List::decode(b"").is_err() && List::decode(b"rubbish").is_err());
    let whole = zstd::decode_all(usual().encode().unwrap().as_slice()).unwrap();
    let packed = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    for length in 0..whole.len() {
        assert!(List::decode(&packed(&whole[..length])).is_err(), "{length}");
        // Whatever it means then, it is told or checked, and nothing panics.
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[length] ^= flip;
            List::decode(&packed(&bytes)).ok();
        }
    }
    let counts = [MAGIC, &[0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert!(
        List::decode(&packed(&counts))
            .unwrap_err()
            .contains("early")
    );
}
