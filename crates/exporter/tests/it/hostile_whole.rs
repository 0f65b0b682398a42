//! Archives made to do harm, read whole: names twice, sizes that lie, documents without end.

use std::fs;
use std::io::Write;

use rbuild_exporter::{Error, Imported, Platforms, Selection, Source, import};
use rbuild_oci::{Descriptor, Digest, Index, Manifest, media_type};

use crate::bench::{Bench, read_tar, tar, write_tar};

/// An index that lists these.
fn index(entries: Vec<Descriptor>) -> Vec<u8> {
    Index::new(media_type::OCI_INDEX, entries).to_bytes()
}

/// A layout of these blobs whose `index.json` is `top`; imported whole.
fn import_layout(bench: &Bench, blobs: &[&[u8]], top: &[u8]) -> Result<Vec<Imported>, Error> {
    import_of(bench, (blobs, top), &Selection::all())
}

fn import_of(
    bench: &Bench,
    (blobs, top): (&[&[u8]], &[u8]),
    selection: &Selection,
) -> Result<Vec<Imported>, Error> {
    let dir = bench.path("layout");
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    for bytes in blobs {
        let name = Digest::sha256_of(bytes);
        fs::write(dir.join("blobs/sha256").join(name.hex()), bytes).unwrap();
    }
    fs::write(dir.join("index.json"), top).unwrap();
    let imported = import(&Source::LayoutDir(dir.clone()), selection, &bench.cx());
    fs::remove_dir_all(dir).unwrap();
    imported
}

fn refused(result: Result<Vec<Imported>, Error>, reason: &str) {
    let error = result.expect_err(reason).to_string();
    assert!(error.contains(reason), "{error:?} lacks {reason:?}");
}

/// An image of one plain layer: manifest, config, layer.
fn image(bench: &Bench, architecture: &str) -> [Vec<u8>; 3] {
    write_tar(&bench.path("layer.tar"), &[("a", b"a")], &[]);
    let layer = fs::read(bench.path("layer.tar")).unwrap();
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::sha256_of(&layer)
    );
    let manifest = Manifest::new(
        media_type::OCI_MANIFEST,
        Descriptor::of(media_type::OCI_CONFIG, config.as_bytes()),
        vec![Descriptor::of(media_type::OCI_LAYER, &layer)],
    );
    [manifest.to_bytes(), config.into_bytes(), layer]
}

fn entry(manifest: &[u8], name: &str) -> Descriptor {
    let mut entry = Descriptor::of(media_type::OCI_MANIFEST, manifest);
    let named = ("org.opencontainers.image.ref.name".into(), name.into());
    entry.annotations.extend([named]);
    entry
}

#[test]
fn one_name_for_two_images_is_refused() {
    let bench = Bench::new();
    let (one, two) = (image(&bench, "amd64"), image(&bench, "arm64"));
    let all: Vec<&[u8]> = one.iter().chain(&two).map(Vec::as_slice).collect();
    let both = index(vec![entry(&one[0], "x:1"), entry(&two[0], "x:1")]);
    // Of two platforms it is one image.
    let imported = import_layout(&bench, &all, &both).unwrap();
    assert_eq!((imported.len(), imported[0].images.len()), (1, 2));
    let mut annotated = Manifest::from_bytes(&one[0]).unwrap();
    annotated.annotations.extend([("k".into(), "v".into())]);
    let twin = annotated.to_bytes();
    let both = index(vec![entry(&one[0], "x:1"), entry(&twin, "x:1")]);
    let blobs: Vec<&[u8]> = [&one[0], &one[1], &one[2], &twin].map(Vec::as_slice).into();
    refused(
        import_layout(&bench, &blobs, &both),
        "two images of it are for linux/amd64, and both are x:1",
    );
}

#[test]
fn several_images_are_named_where_none_is_meant() {
    let bench = Bench::new();
    let one = image(&bench, "amd64");
    let mut annotated = Manifest::from_bytes(&one[0]).unwrap();
    annotated.annotations.extend([("k".into(), "v".into())]);
    let twin = annotated.to_bytes();
    let called = |manifest: &[u8], name: &str| {
        let mut entry = entry(manifest, "latest");
        let named = ("io.containerd.image.name".into(), name.into());
        entry.annotations.extend([named]);
        entry
    };
    let both = index(vec![called(&one[0], "a:latest"), called(&twin, "b:latest")]);
    let blobs: Vec<&[u8]> = [&one[0], &one[1], &one[2], &twin].map(Vec::as_slice).into();
    let one = Selection {
        platforms: Platforms::All,
        ..Selection::one(None)
    };
    refused(
        import_of(&bench, (&blobs, &both), &one),
        "say which as in oci-archive:FILE:NAME or docker-archive:FILE:NAME: a:latest, b:latest",
    );
    assert_eq!(import_layout(&bench, &blobs, &both).unwrap().len(), 2);
}

#[test]
fn sizes_that_lie_are_refused() {
    let bench = Bench::new();
    let parts = image(&bench, "amd64");
    let blobs: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    for size in [0, 1, u64::MAX] {
        let mut lying = entry(&parts[0], "x:1");
        lying.size = size;
        let result = import_layout(&bench, &blobs, &index(vec![lying]));
        refused(result, &format!("bytes, expected {size}"));
        let mut manifest = Manifest::from_bytes(&parts[0]).unwrap();
        manifest.layers[0].size = size;
        let bytes = manifest.to_bytes();
        let blobs = [&bytes, &parts[1], &parts[2]].map(Vec::as_slice);
        let result = import_layout(&bench, &blobs, &index(vec![entry(&bytes, "x:1")]));
        refused(result, &format!("bytes, expected {size}"));
    }
    // A tar whose header promises more than there is.
    let path = bench.path("x.tar");
    write_tar(&path, &[("index.json", b"{}")], &[]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[124..136].copy_from_slice(b"77777777777\0");
    let sum: u32 = bytes[..148]
        .iter()
        .chain(&bytes[156..512])
        .map(|b| u32::from(*b))
        .sum();
    let sum = format!("{:06o}\0 ", sum + 8 * 32);
    bytes[148..156].copy_from_slice(sum.as_bytes());
    fs::write(&path, bytes).unwrap();
    refused(
        import(&tar(&path), &Selection::all(), &bench.cx()),
        "it is cut off",
    );
}

#[test]
fn documents_without_end_are_refused() {
    let bench = Bench::new();
    let long = vec![b' '; (16 << 20) + 1];
    refused(
        import_layout(&bench, &[], &long),
        "index.json is longer than 16777216 bytes",
    );
    let top = index(vec![entry(&long, "x:1")]);
    refused(
        import_layout(&bench, &[&long], &top),
        "is longer than 16777216 bytes",
    );
    // An index within an index within …
    let mut blobs = vec![index(Vec::new())];
    for _ in 0..6 {
        let inner = blobs.last().unwrap();
        blobs.push(index(vec![Descriptor::of(media_type::OCI_INDEX, inner)]));
    }
    let top = index(vec![Descriptor::of(
        media_type::OCI_INDEX,
        blobs.last().unwrap(),
    )]);
    let blobs: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    refused(
        import_layout(&bench, &blobs, &top),
        "indexes within indexes without end",
    );
    // JSON as deep as it gets is no document, and no crash.
    let deep = "[".repeat(100_000);
    assert!(import_layout(&bench, &[], deep.as_bytes()).is_err());
    // A name in the archive that would fill the memory, and packs to next to nothing.
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size(64 << 20);
    header.set_cksum();
    let packed = fs::File::create(bench.path("long.tar.gz")).unwrap();
    let mut gzip = std::process::Command::new("gzip");
    gzip.stdin(std::process::Stdio::piped()).stdout(packed);
    let mut gzip = gzip.spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    input.write_all(header.as_bytes()).unwrap();
    input.write_all(&vec![b'a'; 64 << 20]).unwrap();
    drop(input);
    assert!(gzip.wait().unwrap().success());
    let path = bench.path("long.tar.gz");
    refused(
        import(&tar(&path), &Selection::all(), &bench.cx()),
        "a header in it is longer than 1048576 bytes",
    );
}

#[test]
fn a_file_twice_is_the_later_one_and_still_what_it_is_named() {
    let bench = Bench::new();
    bench.export("type=oci,dest=@/good.tar", &bench.image());
    let (files, _) = read_tar(&bench.path("good.tar"));
    let blob = files
        .keys()
        .find(|name| name.starts_with("blobs/"))
        .unwrap();
    let again = |content: &[u8]| {
        // The entry of the same name, before the trailer.
        let good = fs::read(bench.path("good.tar")).unwrap();
        write_tar(&bench.path("more.tar"), &[(blob, content)], &[]);
        let more = fs::read(bench.path("more.tar")).unwrap();
        let joined = [&good[..good.len() - 1024], &more].concat();
        fs::write(bench.path("twice.tar"), joined).unwrap();
        let to = Bench::new();
        import(&tar(&bench.path("twice.tar")), &Selection::all(), &to.cx())
    };
    again(&files[blob]).unwrap();
    assert!(again(b"something else").is_err());
}

#[test]
fn nothing_leads_out_of_a_layout() {
    let bench = Bench::new();
    let parts = image(&bench, "amd64");
    let top = index(vec![entry(&parts[0], "x:1")]);
    let dir = bench.path("layout");
    let blob = |bytes: &[u8]| {
        dir.join("blobs/sha256")
            .join(Digest::sha256_of(bytes).hex())
    };
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("index.json"), &top).unwrap();
    fs::write(bench.path("outside"), &parts[2]).unwrap();
    for bytes in &parts[..2] {
        fs::write(blob(bytes), bytes).unwrap();
    }
    let load = || {
        import(
            &Source::LayoutDir(dir.clone()),
            &Selection::all(),
            &bench.cx(),
        )
    };
    for target in [
        "../../../outside",
        &bench.path("outside").display().to_string(),
    ] {
        std::os::unix::fs::symlink(target, blob(&parts[2])).unwrap();
        assert!(load().is_err(), "{target}");
        fs::remove_file(blob(&parts[2])).unwrap();
    }
    let digest = parts[0].iter().map(|_| "../").take(3).collect::<String>();
    let text = String::from_utf8(top.clone()).unwrap();
    let name = Digest::sha256_of(&parts[0]);
    let escaping = text.replace(name.as_str(), &format!("sha256:{digest}outside"));
    fs::write(dir.join("index.json"), escaping).unwrap();
    assert!(matches!(load(), Err(Error::Document { .. })));
    fs::write(dir.join("index.json"), top).unwrap();
    fs::write(blob(&parts[2]), &parts[2]).unwrap();
    load().unwrap();
}
