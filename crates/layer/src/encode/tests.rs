//! Round trips, and hostile bytes.

use super::*;

fn sample() -> LayerIndex {
    let time = Mtime {
        secs: -5,
        nanos: 999_999_999,
    };
    let entry = |path: &str, kind| Entry::new(path, kind, 0o7755, time);
    let mut file = entry(
        "etc/passwd",
        Kind::File {
            size: 3,
            content: ContentDigest::of(b"abc"),
        },
    );
    file.uid = u32::MAX;
    file.xattrs
        .insert(b"security.capability".to_vec(), vec![0, 1, 2, 255]);
    let opaque = Kind::Dir {
        opaque: true,
        implied: false,
    };
    let target = b"\xff/../x".to_vec();
    let leader = b"etc/passwd".to_vec();
    let (major, minor) = (4095, 1_048_575);
    let index = LayerIndex::new(vec![
        file,
        entry("etc/passwd-", Kind::Hardlink { leader }),
        entry("o", opaque),
        entry("s", Kind::Symlink { target }),
        entry("c", Kind::Char { major, minor }),
        entry("b", Kind::Block { major, minor }),
        entry("f", Kind::Fifo),
        Entry::whiteout("gone", time),
    ]);
    index
        .unwrap()
        .with_opaque_root(OpaqueRoot::Yes)
        .with_inline(b"etc/passwd", b"abc".as_slice().into())
}

#[test]
fn everything_round_trips() {
    let index = sample();
    let bytes = index.encode();
    assert_eq!(LayerIndex::decode(&bytes).unwrap(), index);
    assert_eq!(bytes, index.encode());
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample().encode();
    for end in 0..bytes.len() {
        assert!(LayerIndex::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn no_changed_byte_panics_and_what_decodes_is_a_valid_index() {
    let bytes = sample().encode();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x2f] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            if let Ok(index) = LayerIndex::decode(&damaged) {
                LayerIndex::new(index.entries().to_vec()).unwrap();
            }
        }
    }
}

#[test]
fn a_huge_count_reserves_no_memory() {
    let mut bytes = MAGIC.to_vec();
    put_number(&mut bytes, 0);
    put_number(&mut bytes, MAX_ENTRIES as u64);
    assert!(LayerIndex::decode(&bytes).is_err());
}

#[test]
fn numbers_at_the_limits() {
    for value in [0, 127, 128, u64::MAX - 1, u64::MAX] {
        let mut bytes = Vec::new();
        put_number(&mut bytes, value);
        assert_eq!(Input(&bytes).number().unwrap(), value);
    }
    assert!(Input(&[0xff; 10]).number().is_err());
    for value in [0, -1, 1, i64::MIN, i64::MAX] {
        assert_eq!(unzigzag(zigzag(value)), value);
    }
}
