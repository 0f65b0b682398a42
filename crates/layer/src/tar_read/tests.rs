//! Old, foreign and hostile archives.

use super::*;
use crate::header::Header;

/// A header of a type, with a name, a link and a size.
fn header(flag: u8, name: &str, link: &str, size: u64) -> Vec<u8> {
    let none = Xattrs::new();
    let header = Header {
        name: name.as_bytes(),
        link: link.as_bytes(),
        flag,
        mode: 0o644,
        uid: 1,
        gid: 2,
        size,
        mtime: 3,
        major: 4,
        minor: 5,
        xattrs: &none,
    };
    let mut out = Vec::new();
    header.append(&mut out);
    out
}

fn with_body(flag: u8, name: &str, body: &[u8]) -> Vec<u8> {
    let mut out = header(flag, name, "", body.len() as u64);
    out.extend_from_slice(body);
    out.resize(out.len() + padding(body.len() as u64) as usize, 0);
    out
}

/// Writes into a block and makes its checksum right again.
fn patch(mut block: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    block[at..at + bytes.len()].copy_from_slice(bytes);
    block[148..156].fill(b' ');
    let sum: u32 = block[..BLOCK].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut all = parts.concat();
    all.resize(all.len() + 2 * BLOCK, 0);
    all
}

/// One line per entry: name, kind and, of files, the bytes.
fn list(bytes: &[u8]) -> Result<Vec<String>> {
    let mut archive = Archive::new(bytes);
    let mut lines = Vec::new();
    while let Some(entry) = archive.next()? {
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        lines.push(match entry.kind {
            TarKind::File { .. } => {
                let mut body = Vec::new();
                let read = archive.read_to_end(&mut body);
                read.map_err(|source| Error::io("read", &name, source))?;
                format!("{name}={}", text(&body).replace('\0', "."))
            }
            TarKind::Hardlink { target } => format!("{name}=>{}", text(&target)),
            TarKind::Symlink { target } => format!("{name}->{}", text(&target)),
            TarKind::Dir => format!("{name}:dir"),
            TarKind::Char { major, minor } => format!("{name}:c{major},{minor}"),
            TarKind::Block { major, minor } => format!("{name}:b{major},{minor}"),
            TarKind::Fifo => format!("{name}:fifo"),
        });
    }
    Ok(lines)
}

#[track_caller]
fn check(parts: &[Vec<u8>], expected: &str) {
    assert_eq!(list(&archive(parts)).unwrap().join(" "), expected);
}

#[track_caller]
fn refused(bytes: &[u8], reason: &str) {
    let error = list(bytes).unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn every_kind_is_read() {
    check(
        &[
            header(b'5', "d/", "", 0),
            with_body(b'0', "d/f", b"hi"),
            header(b'1', "h", "d/f", 0),
            header(b'2', "s", "../x", 0),
            header(b'3', "c", "", 0),
            header(b'4', "b", "", 0),
            header(b'6', "p", "", 0),
            with_body(b'7', "k", b"x"),
            header(b'\0', "old/", "", 0),
        ],
        "d/:dir d/f=hi h=>d/f s->../x c:c4,5 b:b4,5 p:fifo k=x old/:dir",
    );
}

#[test]
fn metadata_is_read() {
    let bytes = archive(&[header(b'5', "d/", "", 0)]);
    let entry = Archive::new(&*bytes).next().unwrap().unwrap();
    assert_eq!((entry.mode, entry.uid, entry.gid), (0o644, 1, 2));
    assert_eq!(entry.mtime, Mtime::from_secs(3));
}

#[test]
fn links_have_no_body_whatever_their_size_says() {
    let link = header(b'1', "h", "f", 5);
    check(&[with_body(b'0', "f", b"x"), link], "f=x h=>f");
}

#[test]
fn unread_bodies_are_skipped() {
    let bytes = archive(&[with_body(b'0', "a", &[7; 20_000]), header(b'5', "d", "", 0)]);
    let mut archive = Archive::new(&*bytes);
    archive.next().unwrap();
    assert_eq!(archive.next().unwrap().unwrap().path, b"d");
}

#[test]
fn long_names_come_in_both_dialects() {
    let long = "n".repeat(300);
    let gnu_name = with_body(b'L', "././@LongLink", format!("{long}\0").as_bytes());
    let gnu_link = with_body(b'K', "././@LongLink", format!("{long}\0").as_bytes());
    let symlink = header(b'2', "short", "short", 0);
    let expected = format!("{long}->{long}");
    check(&[gnu_name, gnu_link, symlink], &expected);
    let record = format!("310 path={long}\n");
    let pax = with_body(b'x', "PaxHeaders.0/x", record.as_bytes());
    check(&[pax, with_body(b'0', "short", b"b")], &format!("{long}=b"));
}

#[test]
fn records_override_the_header_and_end_with_the_entry() {
    let records = b"12 uid=7777\n18 size=0000000001\n30 SCHILY.xattr.user.a=value\n";
    let bytes = archive(&[
        with_body(b'x', "x", b"12 uid=70000\n14 mtime=9.5\n"),
        header(b'5', "d", "", 0),
        header(b'5', "e", "", 0),
    ]);
    let error = Archive::new(&*bytes).next().unwrap_err();
    assert!(error.to_string().contains("record"), "{error}");
    let bytes = archive(&[
        with_body(b'x', "x", &records[..12]),
        header(b'5', "d", "", 0),
        header(b'5', "e", "", 0),
    ]);
    let mut archive = Archive::new(&*bytes);
    assert_eq!(archive.next().unwrap().unwrap().uid, 7777);
    assert_eq!(archive.next().unwrap().unwrap().uid, 1);
}

#[test]
fn global_records_and_volume_labels_are_passed_over() {
    let global = with_body(b'g', "pax_global_header", b"19 comment=0123456\n");
    let label = header(b'V', "label", "", 0);
    check(&[global, label, header(b'5', "d", "", 0)], "d:dir");
}

#[test]
fn prefixes_belong_to_ustar_only() {
    let name = format!("{}/{}", "p".repeat(60), "n".repeat(80));
    check(&[header(b'5', &name, "", 0)], &format!("{name}:dir"));
    let gnu = patch(header(b'5', "d", "", 0), 257, b"ustar  \0");
    check(&[patch(gnu, 345, b"junk")], "d:dir");
}

#[test]
fn sparse_files_of_old_gnu_have_their_holes() {
    // "ab" at 2, "cd" at 7, ten bytes long.
    let mut sparse = header(b'S', "s", "", 4);
    for (at, value) in [(386, 2), (398, 2), (410, 7), (422, 2), (483, 10)] {
        sparse = patch(sparse, at, format!("{value:011o}\0").as_bytes());
    }
    sparse = patch(sparse, 257, b"ustar  \0");
    sparse.extend_from_slice(b"abcd");
    sparse.resize(2 * BLOCK, 0);
    check(
        &[sparse.clone(), header(b'5', "d", "", 0)],
        "s=..ab...cd. d:dir",
    );
    // Pieces out of order, beyond the end, or of another length than what is stored.
    for (at, value) in [
        (410, 3),
        (410, 9),
        (483, 8),
        (422, 1),
        (398, 0o77777777777u64),
    ] {
        let bad = patch(sparse.clone(), at, format!("{value:011o}\0").as_bytes());
        refused(&archive(&[bad]), "its map");
    }
}

#[test]
fn a_sparse_map_without_end_is_refused() {
    let mut sparse = header(b'S', "s", "", 0);
    sparse = patch(sparse, 483, b"77777777777\0");
    sparse = patch(sparse, 482, &[1]);
    let mut block = vec![0u8; BLOCK];
    for piece in 0..21 {
        block[piece * 24..piece * 24 + 12].copy_from_slice(b"00000000001\0");
        block[piece * 24 + 12..piece * 24 + 24].copy_from_slice(b"00000000001\0");
    }
    block[504] = 1;
    let mut bytes = sparse;
    for _ in 0..5000 {
        bytes.extend_from_slice(&block);
    }
    refused(&bytes, "too many pieces");
}

#[test]
fn pax_sparse_files_are_refused_not_misread() {
    let records = with_body(b'x', "x", b"22 GNU.sparse.major=1\n");
    refused(&archive(&[records, with_body(b'0', "s", b"x")]), "sparse");
}

#[test]
fn sizes_that_lie_reserve_nothing() {
    let huge = patch(
        header(b'0', "f", "", 0),
        124,
        b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
    );
    refused(&archive(&[huge]), "too large");
    let negative = patch(header(b'0', "f", "", 0), 124, &[0xff; 12]);
    refused(&archive(&[negative]), "negative");
    let name = patch(header(b'L', "l", "", 0), 124, b"77777777777\0");
    refused(&archive(&[name]), "too long");
    refused(&header(b'0', "f", "", 5), "read f");
    refused(&header(b'x', "x", "", 5), "middle");
}

#[test]
fn damaged_headers_and_ends() {
    let mut bytes = archive(&[header(b'5', "d", "", 0)]);
    bytes[3] ^= 1;
    refused(&bytes, "damaged header at offset 0");
    let zero = vec![0; BLOCK];
    refused(
        &[zero.clone(), header(b'5', "d", "", 0)].concat(),
        "zero block",
    );
    assert_eq!(list(&header(b'5', "d", "", 0)).unwrap(), ["d:dir"]);
    assert_eq!(
        list(&[header(b'5', "d", "", 0), zero].concat()).unwrap(),
        ["d:dir"]
    );
    assert_eq!(list(b"").unwrap(), [""; 0]);
    refused(&header(b'5', "d", "", 0)[..100], "middle");
}

#[test]
fn unknown_types_are_named() {
    refused(&archive(&[header(b'M', "m", "", 0)]), "type 'M'");
    refused(&archive(&[header(b'D', "m", "", 0)]), "type 'D'");
}

#[test]
fn names_with_nul_bytes_in_records_are_refused() {
    let pax = with_body(b'x', "x", b"12 path=a\0b\n");
    refused(&archive(&[pax, header(b'5', "d", "", 0)]), "NUL");
}

#[test]
fn no_damage_to_a_real_archive_panics() {
    let sample = archive(&[
        with_body(b'x', "x", b"12 path=a/b\n"),
        with_body(b'0', "f", b"body"),
        with_body(b'L', "l", b"long\0"),
        header(b'1', "h", "f", 0),
    ]);
    for at in 0..sample.len() {
        for value in [0x80, 0xff] {
            let mut damaged = sample.clone();
            damaged[at] = value;
            list(&damaged).ok();
            // The checksum made right again lets the damage through to the fields.
            let start = at / BLOCK * BLOCK;
            let block = patch(damaged[start..start + BLOCK].to_vec(), 0, &[]);
            damaged[start..start + BLOCK].copy_from_slice(&block);
            list(&damaged).ok();
        }
    }
}

#[test]
fn paths_are_cleaned_or_refused() {
    for (written, clean) in [
        ("a/b", "a/b"),
        ("./a//b/.", "a/b"),
        ("/etc/passwd", "etc/passwd"),
        ("a/../b", "b"),
        ("./", ""),
        ("/", ""),
        ("a/b/..", "a"),
    ] {
        assert_eq!(
            clean_path(written.as_bytes()).unwrap(),
            clean.as_bytes(),
            "{written}"
        );
    }
    for climbing in ["..", "../x", "a/../../x", "/../x", "./.."] {
        let error = clean_path(climbing.as_bytes());
        assert!(matches!(error, Err(Error::Escape { .. })), "{climbing}");
    }
    assert!(clean_path(&[b'x'; 300]).is_err());
    assert!(clean_path("x/".repeat(3000).as_bytes()).is_err());
}
