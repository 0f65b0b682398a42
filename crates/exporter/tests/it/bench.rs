//! What every test needs: a store, an image of two layers in it, and a context.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rbuild_exporter::{
    Context, Export, ExportSpec, Exported, Form, ImageToExport, Input, LayoutFetch, Source, export,
};
use rbuild_layer::{
    Entry, Fetch, InPlace, Kind, LayerId, LayerStore, Mtime, NewEntry, NewLayer, NoFetch,
};
use rbuild_oci::{ImageConfig, Platform, Reference};
use rbuild_progress::{CancelToken, CollectSink, Event, VertexKey};
use rbuild_store::Store;

/// A time that shows when it is kept.
pub const TIME: i64 = 1_600_000_000;

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub store: Arc<Store>,
    pub layers: LayerStore,
    pub sink: CollectSink,
    pub vertex: VertexKey,
    pub cancel: CancelToken,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(|_| Arc::new(NoFetch))
    }

    /// Brings layers from the layouts that they were registered from.
    pub fn fetching() -> Self {
        Self::with(|store| Arc::new(LayoutFetch::new(store, Arc::new(NoFetch))))
    }

    fn with(fetch: impl FnOnce(Arc<Store>) -> Arc<dyn Fetch>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("store")).unwrap());
        let fetch = fetch(store.clone());
        let layers = LayerStore::new(store.clone(), Arc::new(InPlace::root()), fetch);
        let (sink, vertex, cancel) = (
            CollectSink::new(),
            VertexKey::new("sha256:00"),
            CancelToken::new(),
        );
        Self {
            dir,
            store,
            layers,
            sink,
            vertex,
            cancel,
        }
    }

    pub fn cx(&self) -> Context<'_> {
        Context {
            layers: &self.layers,
            store: &self.store,
            sink: &self.sink,
            vertex: &self.vertex,
            cancel: &self.cancel,
        }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    pub fn layer(&self, entries: Vec<NewEntry>) -> LayerId {
        self.layers
            .commit_files(NewLayer { entries }, &self.cancel)
            .unwrap()
    }

    /// An image of these layers.
    pub fn image_of(&self, layers: Vec<LayerId>) -> ImageToExport {
        let platform = Platform::new("linux", "amd64");
        let mut config = ImageConfig::new(&platform);
        config.created = Some("2024-01-02T03:04:05.678Z".into());
        let diff_ids = layers
            .iter()
            .map(|layer| self.layers.diff_id(layer, &self.cancel).unwrap());
        config.rootfs.diff_ids = Some(diff_ids.collect());
        let names = vec![Reference::parse("example/app:1").unwrap()];
        ImageToExport {
            config: config.to_bytes(),
            layers,
            names,
            platform,
        }
    }

    /// The image that most tests use: a base, and a layer that changes and removes some of it.
    pub fn image(&self) -> ImageToExport {
        let base = self.layer(vec![
            dir("etc", 0o755),
            file("etc/motd", "old", 0o644),
            file("etc/gone", "gone", 0o644),
            file("etc/keep", "keep", 0o600),
            dir("sticky", 0o1777),
            dir("locked", 0o555),
            file("locked/tool", "#!/bin/sh\n", 0o4755),
            entry(
                "link",
                Kind::Symlink {
                    target: b"etc/motd".to_vec(),
                },
                0o777,
            ),
            file("data", "shared content", 0o640),
            entry(
                "data2",
                Kind::Hardlink {
                    leader: b"data".to_vec(),
                },
                0o640,
            ),
        ]);
        let top = self.layer(vec![
            dir("etc", 0o755),
            file("etc/motd", "new", 0o644),
            NewEntry::plain(Entry::whiteout(
                b"etc/gone".to_vec(),
                Mtime::from_secs(TIME),
            )),
        ]);
        self.image_of(vec![base, top])
    }

    pub fn export(&self, output: &str, image: &ImageToExport) -> Exported {
        export(&self.spec(output), std::slice::from_ref(image), &self.cx()).unwrap()
    }

    /// Parses an output, with `@` standing for the test's directory.
    pub fn spec(&self, output: &str) -> ExportSpec {
        Export::parse(&output.replace('@', &self.dir.path().display().to_string())).unwrap()
    }

    /// Names of statuses that were ended, in order.
    pub fn ended(&self) -> Vec<String> {
        let events = self.sink.take().into_iter();
        let ended = events.filter_map(|event| match event {
            Event::Status(status) if status.completed.is_some() => Some(status.name),
            _ => None,
        });
        ended.collect()
    }
}

pub fn entry(path: &str, kind: Kind, mode: u32) -> NewEntry {
    NewEntry::plain(Entry::new(path, kind, mode, Mtime::from_secs(TIME)))
}

pub fn dir(path: &str, mode: u32) -> NewEntry {
    entry(path, Kind::dir(), mode)
}

pub fn file(path: &str, content: &str, mode: u32) -> NewEntry {
    let entry = Entry::new(path, Kind::Fifo, mode, Mtime::from_secs(TIME));
    NewEntry::inline(entry, content.as_bytes())
}

/// The regular files of a tar by name, and the names of everything in order.
pub fn read_tar(path: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<String>) {
    let mut archive = tar::Archive::new(std::fs::File::open(path).unwrap());
    let (mut files, mut names) = (BTreeMap::new(), Vec::new());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        names.push(name.clone());
        if entry.header().entry_type() == tar::EntryType::Regular {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(name, bytes);
        }
    }
    (files, names)
}

/// A tar file of whatever kind.
pub fn tar(path: &Path) -> Source {
    Source::Tar {
        input: Input::File(path.to_path_buf()),
        form: Form::Any,
    }
}

/// Writes a tar of plain files and links.
pub fn write_tar(path: &Path, files: &[(&str, &[u8])], symlinks: &[(&str, &str)]) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // Set raw, since the builder refuses the names that some tests are about.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    for (name, target) in symlinks {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    }
    builder.finish().unwrap();
}
