//! A worker whose file systems are maps, and a cache index that is a map.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};

use rbuild_graph::{ExecMountKind, ExecOp, FileAction, FileOp, Op, Vertex};
use rbuild_oci::Digest;
use rbuild_progress::CancelToken;
use rbuild_solver::{
    CacheError, CacheIndex, CacheKey, KeyInputs, OpContext, Presence, Supplied, Worker,
};

/// Path to text.
pub type Files = BTreeMap<String, String>;

/// A result: what all its layers show together, and the last layer.
#[derive(Debug, Clone)]
pub struct Value {
    pub files: Files,
    layer: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

type Hook = Box<dyn Fn(&str, &OpContext<'_>) -> Result<(), Refused> + Send + Sync>;

/// Layers by number, shared between workers like a store between processes.
#[derive(Default)]
pub struct Shelf {
    pub layers: Mutex<BTreeMap<usize, Files>>,
    next: AtomicUsize,
}

#[derive(Default)]
pub struct Fake {
    /// Files of the local directory.
    pub context: Files,
    pub shelf: Arc<Shelf>,
    /// Called before each op that is not a source, with its first argument or destination.
    pub hook: Option<Hook>,
    /// What ran, sources left out.
    pub ran: Mutex<Vec<String>>,
    pub digested: AtomicUsize,
    /// Whether it says that results are kept which are not.
    pub boasts: bool,
    pub threads: Mutex<HashSet<ThreadId>>,
}

/// Adds the texts of all files that an op reads from an input to what it writes.
pub fn exec_layer(exec: &ExecOp, inputs: &[&Files]) -> Files {
    let mut text = exec.args[2].clone();
    for mount in &exec.mounts {
        if let ExecMountKind::Bind { input, source } = &mount.kind {
            text.push_str(inputs[*input].get(source).map_or("-", String::as_str));
        }
    }
    if let Some(base) = exec.base {
        text.push_str(&format!("#{}", inputs[base].len()));
    }
    Files::from([(exec.args[1].clone(), text)])
}

pub fn file_layer(file: &FileOp, inputs: &[&Files]) -> Files {
    let mut layer = Files::new();
    for action in &file.actions {
        if let FileAction::Copy(copy) = action {
            let text = inputs[copy.input].get(&copy.sources[0]);
            layer.insert(
                copy.dest.clone(),
                text.map_or("-", String::as_str).to_owned(),
            );
        }
    }
    layer
}

pub fn base_of(op: &Op) -> Option<usize> {
    match op {
        Op::Exec(exec) => exec.base,
        Op::File(file) => file.base,
        _ => None,
    }
}

fn label(op: &Op) -> String {
    match op {
        Op::Exec(exec) => exec.args[0].clone(),
        Op::File(file) => match &file.actions[0] {
            FileAction::Copy(copy) => copy.dest.clone(),
            other => format!("{other:?}"),
        },
        _ => String::new(),
    }
}

fn selected(op: &Op, input: usize) -> Vec<&str> {
    match op {
        Op::Exec(exec) => exec
            .mounts
            .iter()
            .filter_map(|mount| match &mount.kind {
                ExecMountKind::Bind { input: i, source } if *i == input => Some(source.as_str()),
                _ => None,
            })
            .collect(),
        Op::File(file) => file
            .actions
            .iter()
            .filter_map(|action| match action {
                FileAction::Copy(copy) if copy.input == input => Some(copy.sources[0].as_str()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

impl Fake {
    pub fn over(shelf: &Arc<Shelf>) -> Self {
        Self {
            shelf: Arc::clone(shelf),
            ..Self::default()
        }
    }

    pub fn ran(&self) -> Vec<String> {
        let mut ran = self.ran.lock().unwrap().clone();
        ran.sort();
        ran
    }

    fn put(&self, layer: &Files) -> usize {
        let number = self.shelf.next.fetch_add(1, Ordering::SeqCst);
        self.shelf
            .layers
            .lock()
            .unwrap()
            .insert(number, layer.clone());
        number
    }

    fn note_thread(&self) {
        self.threads.lock().unwrap().insert(thread::current().id());
    }

    fn stack(&self, op: &Op, layer: &Files, inputs: &[Value]) -> Files {
        stacked(base_of(op).map(|base| &inputs[base]), layer)
    }
}

fn stacked(base: Option<&Value>, layer: &Files) -> Files {
    let mut files = base.map_or_else(Files::new, |base| base.files.clone());
    files.extend(layer.clone());
    files
}

impl Worker for Fake {
    type Output = Value;
    type Error = Refused;

    fn content(
        &self,
        vertex: &Vertex,
        input: usize,
        from: &Value,
        _cx: &OpContext<'_>,
    ) -> Result<Option<Digest>, Refused> {
        self.note_thread();
        self.digested.fetch_add(1, Ordering::SeqCst);
        let texts: Vec<Option<&String>> = selected(&vertex.op, input)
            .into_iter()
            .map(|path| from.files.get(path))
            .collect();
        Ok(Some(Digest::sha256_of(format!("{texts:?}").as_bytes())))
    }

    fn supply(&self, vertex: &Vertex, cx: &OpContext<'_>) -> Result<Supplied<Value>, Refused> {
        self.note_thread();
        let (layer, key) = match &vertex.op {
            Op::Image(image) => (
                Files::from([("base".to_owned(), image.reference.clone())]),
                Some(image.manifest.clone()),
            ),
            Op::Http(http) => {
                if let Some(hook) = &self.hook {
                    hook(&http.name, cx)?;
                }
                let content = Digest::sha256_of(http.name.as_bytes());
                let file = (http.name.clone(), content.to_string());
                (Files::from([file]), Some(content))
            }
            _ => (self.context.clone(), None),
        };
        let number = self.put(&layer);
        let output = Value {
            files: layer,
            layer: number,
        };
        let presence = Presence::Fresh;
        Ok(Supplied {
            output,
            key,
            presence,
        })
    }

    fn run(&self, vertex: &Vertex, inputs: &[Value], cx: &OpContext<'_>) -> Result<Value, Refused> {
        self.note_thread();
        let seen: Vec<&Files> = inputs.iter().map(|input| &input.files).collect();
        let layer = match &vertex.op {
            Op::Exec(exec) => exec_layer(exec, &seen),
            Op::File(file) => file_layer(file, &seen),
            _ => return Err(Refused("a source is supplied, not run".to_owned())),
        };
        if matches!(vertex.op, Op::Exec(_) | Op::File(_)) {
            self.ran.lock().unwrap().push(label(&vertex.op));
            if let Some(hook) = &self.hook {
                hook(&label(&vertex.op), cx)?;
            }
        }
        let number = self.put(&layer);
        Ok(Value {
            files: self.stack(&vertex.op, &layer, inputs),
            layer: number,
        })
    }

    fn save(&self, output: &Value) -> Result<Vec<u8>, Refused> {
        Ok(output.layer.to_string().into_bytes())
    }

    fn load(
        &self,
        vertex: &Vertex,
        saved: &[u8],
        base: Option<&Value>,
    ) -> Result<Option<Value>, Refused> {
        self.note_thread();
        let number: usize = std::str::from_utf8(saved).unwrap().parse().unwrap();
        let layers = self.shelf.layers.lock().unwrap();
        Ok(layers.get(&number).map(|layer| Value {
            files: stacked(base.filter(|_| base_of(&vertex.op).is_some()), layer),
            layer: number,
        }))
    }

    fn is_kept(&self, saved: &[u8]) -> bool {
        let number: usize = std::str::from_utf8(saved).unwrap().parse().unwrap();
        self.boasts || self.shelf.layers.lock().unwrap().contains_key(&number)
    }
}

/// A cache index in memory; clones share it.
#[derive(Default, Clone)]
pub struct Index {
    pub records: Arc<Mutex<BTreeMap<CacheKey, Vec<u8>>>>,
    pub notes: Arc<Mutex<Vec<KeyInputs>>>,
    /// Whether results may be there whose inputs are not.
    pub is_partial: bool,
    pub held: Arc<(Mutex<BTreeSet<CacheKey>>, Condvar)>,
}

struct Held {
    key: CacheKey,
    held: Arc<(Mutex<BTreeSet<CacheKey>>, Condvar)>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.0.lock().unwrap().remove(&self.key);
        self.held.1.notify_all();
    }
}

impl CacheIndex for Index {
    fn lookup(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, CacheError> {
        Ok(self.records.lock().unwrap().get(key).cloned())
    }

    fn record(
        &self,
        keys: &[CacheKey],
        bytes: &[u8],
        inputs: &KeyInputs,
    ) -> Result<(), CacheError> {
        let mut records = self.records.lock().unwrap();
        for key in keys {
            records.insert(key.clone(), bytes.to_vec());
        }
        self.notes.lock().unwrap().push(inputs.clone());
        Ok(())
    }

    fn may_have_alone(&self, _op: &Digest) -> bool {
        self.is_partial
    }

    fn lock(&self, key: &CacheKey, _cancel: &CancelToken) -> Result<Box<dyn Send>, CacheError> {
        let (set, changed) = &*self.held;
        let mut set = set.lock().unwrap();
        while !set.insert(key.clone()) {
            set = changed.wait(set).unwrap();
        }
        Ok(Box::new(Held {
            key: key.clone(),
            held: Arc::clone(&self.held),
        }))
    }
}
