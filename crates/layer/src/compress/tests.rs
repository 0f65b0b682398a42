//! Same bytes for any number of threads, and bytes that others can read.

use std::io::Read;

use rbuild_oci::Digest;

use super::codec::{GZIP_BLOCK, ZSTD_BLOCK};
use super::*;

/// Text-like bytes from a generator with fixed constants: the same on every machine.
fn sample(size: usize) -> Vec<u8> {
    let words = [
        "layer", "digest", "blob", "tree ", "\n", "0123", "view", "index", "€",
    ];
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match words.get((state % 11) as usize) {
            Some(word) => out.extend_from_slice(word.as_bytes()),
            None => out.extend_from_slice(&state.to_le_bytes()),
        }
    }
    out.truncate(size);
    out
}

fn compress(bytes: &[u8], compression: Compression, threads: usize) -> Vec<u8> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = Pool::Own(Arc::new(pool.build().unwrap()));
    let cancel = CancelToken::new();
    let mut compressor = start(compression, Vec::new(), &cancel, pool).unwrap();
    for piece in bytes.chunks(threads * 70_001) {
        compressor.write_all(piece).unwrap();
    }
    compressor.finish().unwrap()
}

fn decompress(bytes: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let input = std::io::Cursor::new(bytes);
    let mut reader = crate::decompress::detect(input).unwrap();
    reader.read_to_end(&mut out).unwrap();
    out
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let bytes = sample(9_500_000);
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let one = compress(&bytes, compression, 1);
        assert!(one.len() < bytes.len() * 9 / 10);
        for threads in [2, 8] {
            assert!(
                one == compress(&bytes, compression, threads),
                "{compression} {threads}"
            );
        }
        assert!(decompress(one) == bytes);
    }
}

/// Digests of the compressed sample. They change when a compression library changes its mind: then
/// every digest that rbuild ever pushed changes, which is worth a line in the changelog.
#[test]
fn bytes_are_those_of_this_format_version() {
    let bytes = sample(2_500_000);
    for (compression, expected) in [
        (
            Compression::GZIP,
            include_str!("../../../../testdata/layer/gzip-6.digest"),
        ),
        (
            Compression::ZSTD,
            include_str!("../../../../testdata/layer/zstd-3.digest"),
        ),
    ] {
        let digest = Digest::sha256_of(&compress(&bytes, compression, 2));
        assert_eq!(digest.to_string(), expected.trim(), "{compression}");
    }
}

#[test]
fn block_limits_round_trip() {
    for compression in [Compression::GZIP, Compression::ZSTD, Compression::None] {
        for size in [
            0,
            1,
            GZIP_BLOCK - 1,
            GZIP_BLOCK,
            2 * GZIP_BLOCK,
            ZSTD_BLOCK,
            ZSTD_BLOCK + 1,
        ] {
            let bytes = sample(size);
            assert!(
                decompress(compress(&bytes, compression, 2)) == bytes,
                "{compression} {size}"
            );
        }
    }
}

#[test]
fn incompressible_blocks_are_whole() {
    let mut state = 1u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(3 * GZIP_BLOCK + 5)
    .collect();
    for compression in [Compression::GZIP, Compression::ZSTD] {
        assert!(
            decompress(compress(&bytes, compression, 2)) == bytes,
            "{compression}"
        );
    }
}

#[test]
fn cancellation_ends_the_stream_with_an_error() {
    let cancel = CancelToken::new();
    let mut compressor = compressor(Compression::GZIP, Vec::new(), &cancel).unwrap();
    compressor.write_all(b"x").unwrap();
    cancel.cancel();
    let error = compressor.finish().unwrap_err();
    assert!(rbuild_progress::Cancelled::caused(&error));
}

#[test]
fn a_failing_output_ends_the_stream_with_its_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The header still fits.
            match bytes.len() {
                0..=10 => Ok(bytes.len()),
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for compression in [Compression::GZIP, Compression::ZSTD] {
        // One block, several, and far more than are under way at once.
        for size in [1000, 3 * ZSTD_BLOCK, 12 * ZSTD_BLOCK] {
            let cancel = CancelToken::new();
            let mut compressor = compressor(compression, Full, &cancel).unwrap();
            let written = compressor.write_all(&sample(size));
            let error = match written {
                Ok(()) => compressor.finish().err(),
                Err(error) => Some(error),
            };
            let kind = error.map(|error| error.kind());
            assert_eq!(
                kind,
                Some(io::ErrorKind::StorageFull),
                "{compression} {size}"
            );
        }
    }
}
