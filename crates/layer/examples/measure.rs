//! Measures layers on this machine: `cargo run --release -p rbuild-layer --example measure`.
//!
//! Makes a store in a temporary directory of the current one (give it a real disk), then commits a
//! file of one GiB, half of it random, compresses it, unpacks it, and handles an index of 100 000
//! entries. With `again TAR` it tells instead whether an archive is written again byte for byte, as
//! those of BuildKit should be; with `levels TAR` how levels of compression compare on it.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rbuild_layer::{
    ByteSource, Compression, ContentDigest, Entry, FileView, InPlace, Kind, LayerId, LayerIndex,
    LayerStore, Mtime, NewEntry, NewLayer, NoFetch, PulledLayer,
};
use rbuild_oci::{Descriptor, DiffId, Digest};
use rbuild_progress::CancelToken;
use rbuild_store::Store;

type Outcome<T> = Result<T, Box<dyn Error>>;

const GIB: u64 = 1 << 30;

fn main() -> Outcome<()> {
    let dir = tempfile::tempdir_in(".")?;
    let store = Arc::new(Store::open(&dir.path().join("store"))?);
    let layers = LayerStore::new(store, Arc::new(InPlace::root()), Arc::new(NoFetch));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["again", tar] => again(&layers, Path::new(tar)),
        ["levels", tar] => levels(&layers, Path::new(tar)),
        _ => {
            large(&layers, dir.path())?;
            many(&layers)
        }
    }
}

/// Runs a piece of work and prints how long it took.
fn timed<T>(what: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let (start, cpu) = (Instant::now(), cpu_ticks());
    let value = work()?;
    say(what, start.elapsed(), cpu);
    Ok(value)
}

/// On a busy machine the processor's time tells more than the clock's.
fn say(what: &str, time: Duration, before: [u64; 2]) {
    let now = cpu_ticks();
    // A tick is 10 ms on every Linux that matters.
    let [user, system] = [0, 1].map(|at| (now[at] - before[at]) as f64 / 100.0);
    let time = time.as_secs_f64();
    let line = format!("{what:40} {time:8.3} s  cpu {user:6.2} + {system:5.2}\n");
    std::io::stdout().write_all(line.as_bytes()).ok();
}

/// User and system time of this process so far.
fn cpu_ticks() -> [u64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |at| {
        let text = fields.split_ascii_whitespace().nth(at);
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    [field(11), field(12)]
}

/// One GiB: 4 KiB of text, 4 KiB of noise, and so on.
fn large(layers: &LayerStore, dir: &Path) -> Outcome<()> {
    let cancel = CancelToken::new();
    let path = dir.join("large");
    timed("make 1 GiB", || Ok(make_large(&path)?))?;
    let opened = path.clone();
    let open = move || {
        let file = File::open(&opened);
        let file = file.map_err(|source| rbuild_layer::Error::io("open", &opened, source))?;
        Ok(Box::new(file) as Box<dyn Read + Send>)
    };
    let content = ContentDigest::empty();
    let entry = Entry::new(
        "large",
        Kind::File { size: GIB, content },
        0o644,
        Mtime::default(),
    );
    let new = || NewLayer {
        entries: vec![NewEntry::learned(
            entry.clone(),
            ByteSource::Open(Arc::new(open.clone())),
        )],
    };
    let layer = timed("commit 1 GiB", || Ok(layers.commit_files(new(), &cancel)?))?;
    timed("commit 1 GiB again", || {
        Ok(layers.commit_files(new(), &cancel)?)
    })?;
    for level in [1, 3] {
        compress(layers, &layer, Compression::Zstd { level })?;
    }
    for level in [1, 4, 6] {
        compress(layers, &layer, Compression::Gzip { level })?;
    }
    timed("unpack 1 GiB from its tar", || {
        Ok(layers.lowers(&[layer], &cancel)?)
    })?;
    for compression in [Compression::ZSTD, Compression::GZIP] {
        let descriptor = layers.compressed(&layer, compression, &cancel)?;
        let pulled = PulledLayer {
            // Below an imaginary layer, so that each is one of its own.
            parent: Some(rbuild_oci::ChainId(descriptor.digest.clone())),
            diff_id: layers.diff_id(&layer, &cancel)?,
            descriptor,
            origin: String::new(),
        };
        let pulled = layers.pulled(&pulled, &cancel)?;
        let what = format!("index 1 GiB of {compression}");
        timed(&what, || Ok(layers.index(&pulled, &cancel)?))?;
        let what = format!("unpack 1 GiB of {compression}");
        timed(&what, || Ok(layers.lowers(&[pulled], &cancel)?))?;
    }
    Ok(())
}

fn compress(layers: &LayerStore, layer: &LayerId, compression: Compression) -> Outcome<()> {
    let cancel = CancelToken::new();
    let (start, cpu) = (Instant::now(), cpu_ticks());
    let twin = layers.compressed(layer, compression, &cancel)?;
    let ratio = twin.size as f64 / GIB as f64;
    let what = format!("compress 1 GiB, {compression}, ratio {ratio:.3}");
    say(&what, start.elapsed(), cpu);
    Ok(())
}

fn make_large(path: &Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut block = Vec::with_capacity(8192);
    for _ in 0..GIB / 8192 {
        block.clear();
        while block.len() < 4096 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            write!(block, "entry {:x} of the layer; ", state & 0xffff)?;
        }
        block.truncate(4096);
        while block.len() < 8192 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    file.flush()
}

/// 100 000 small files.
fn many(layers: &LayerStore) -> Outcome<()> {
    let cancel = CancelToken::new();
    let entries = (0..100_000).map(|at| {
        let path = format!("usr/lib/node_modules/pack-{}/dist/file-{at}.js", at / 50);
        let kind = Kind::Fifo;
        let entry = Entry::new(path, kind, 0o644, Mtime::from_secs(1_700_000_000));
        NewEntry::inline(entry, format!("module.exports = {at}\n").into_bytes())
    });
    let new = NewLayer {
        entries: entries.collect(),
    };
    let layer = timed("commit 100 000 files", || {
        Ok(layers.commit_files(new, &cancel)?)
    })?;
    let index = layers.index(&layer, &cancel)?;
    let bytes = timed("encode their index", || Ok(index.encode()))?;
    timed("decode it", || Ok(LayerIndex::decode(&bytes)?))?;
    let line = format!("(it has {} bytes)\n", bytes.len());
    std::io::stdout().write_all(line.as_bytes())?;
    let view = layers.view(&[layer], &cancel);
    timed("look up 100 000 paths in a view", || {
        for entry in index.entries() {
            view.lstat(&entry.path)?;
        }
        Ok(())
    })?;
    timed("unpack them", || Ok(layers.lowers(&[layer], &cancel)?))?;
    Ok(())
}

/// Compresses a tar at several levels.
fn levels(layers: &LayerStore, path: &Path) -> Outcome<()> {
    let cancel = CancelToken::new();
    let bytes = std::fs::read(path)?;
    let size = bytes.len() as f64;
    let kind = Kind::Fifo;
    let entry = Entry::new("tar", kind, 0o644, Mtime::default());
    let entries = vec![NewEntry::inline(entry, bytes)];
    let layer = layers.commit_files(NewLayer { entries }, &cancel)?;
    let gzip = (1..=6).map(|level| Compression::Gzip { level });
    let zstd = (1..=5).map(|level| Compression::Zstd { level });
    for compression in gzip.chain(zstd) {
        let (start, cpu) = (Instant::now(), cpu_ticks());
        let twin = layers.compressed(&layer, compression, &cancel)?;
        let what = format!("{compression}, ratio {:.3}", twin.size as f64 / size);
        say(&what, start.elapsed(), cpu);
    }
    Ok(())
}

/// Reads a tar as a pulled layer, and writes all that it holds as a layer of our own.
fn again(layers: &LayerStore, path: &Path) -> Outcome<()> {
    let cancel = CancelToken::new();
    let mut tar = Vec::new();
    BufReader::new(File::open(path)?).read_to_end(&mut tar)?;
    let diff_id = DiffId(Digest::sha256_of(&tar));
    let blob = layers.store().put_blob(&tar)?;
    let layer = layers.pulled(
        &PulledLayer {
            parent: None,
            diff_id: diff_id.clone(),
            descriptor: Descriptor::new(Compression::None.media_type(), blob, tar.len() as u64),
            origin: String::new(),
        },
        &cancel,
    )?;
    let index = layers.index(&layer, &cancel)?;
    let view = layers.view(&[layer], &cancel);
    let mut entries = Vec::new();
    for entry in index.entries() {
        entries.push(match entry.kind {
            Kind::File { size: 1.., .. } => NewEntry::file(entry.clone(), view.bytes(&entry.path)?),
            _ => NewEntry::plain(entry.clone()),
        });
    }
    let made = layers.commit_files(NewLayer { entries }, &cancel)?;
    let found = layers.diff_id(&made, &cancel)?;
    let verdict = if found == diff_id {
        "the same"
    } else {
        "different"
    };
    let line = format!("{}: {verdict}: {diff_id} {found}\n", path.display());
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(())
}
