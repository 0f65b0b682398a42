//! Builds small graphs and solves them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use rbuild_graph::{
    CopyAction, ExecMount, ExecMountKind, ExecOp, FileAction, FileOp, Graph, GraphBuilder, HttpOp,
    ImageOp, ImageOrigin, LocalOp, NetworkMode, Op, SecurityMode, VertexIx,
};
use rbuild_oci::{Digest, Platform};
use rbuild_progress::{CancelToken, CollectSink, Event, VertexUpdate};
use rbuild_solver::{SolveError, SolveRequest, Solved, solve};

use crate::fake::{Fake, Index, Refused, Value};

#[derive(Default)]
pub struct Build {
    graph: GraphBuilder,
    pub names: BTreeMap<VertexIx, String>,
    pub no_cache: BTreeSet<VertexIx>,
}

impl Build {
    pub fn image(&mut self, name: &str) -> VertexIx {
        let op = Op::Image(ImageOp {
            reference: name.to_owned(),
            manifest: Digest::sha256_of(name.as_bytes()),
            platform: Platform::new("linux", "amd64"),
            diff_ids: Vec::new(),
            origin: ImageOrigin::Registry,
        });
        self.add(name, op, vec![])
    }

    pub fn local(&mut self) -> VertexIx {
        let op = Op::Local(LocalOp {
            name: "context".to_owned(),
        });
        self.add("context", op, vec![])
    }

    /// A file in the network.
    pub fn http(&mut self, name: &str) -> VertexIx {
        let op = Op::Http(HttpOp {
            url: Some(format!("https://host/{name}")),
            name: name.to_owned(),
            checksum: None,
        });
        self.add(name, op, vec![])
    }

    /// A process called `label` that writes `text` to `path`, and appends what it reads.
    pub fn exec(
        &mut self,
        [label, path, text]: [&str; 3],
        base: VertexIx,
        reads: &[(VertexIx, &str)],
    ) -> VertexIx {
        let bind = |(n, (_, source)): (usize, &(VertexIx, &str))| ExecMount {
            target: format!("/mnt/{n}"),
            kind: ExecMountKind::Bind {
                input: n + 1,
                source: (*source).to_owned(),
            },
            read_only: true,
        };
        let op = Op::Exec(ExecOp {
            args: [label, path, text].map(str::to_owned).to_vec(),
            env: Vec::new(),
            proxy_env: vec![("http_proxy".to_owned(), "http://user:secret@x".to_owned())],
            cwd: "/".to_owned(),
            user: String::new(),
            network: NetworkMode::Default,
            security: SecurityMode::Sandbox,
            hostname: String::new(),
            base: Some(0),
            mounts: reads.iter().enumerate().map(bind).collect(),
            platform: Platform::new("linux", "amd64"),
            extra_hosts: Vec::new(),
            shm_size: 0,
            ulimits: Vec::new(),
        });
        let mut inputs = vec![base];
        inputs.extend(reads.iter().map(|(ix, _)| *ix));
        self.add(label, op, inputs)
    }

    pub fn copy(&mut self, from: (VertexIx, &str), base: VertexIx, dest: &str) -> VertexIx {
        self.copy_op(from, base, dest, false)
    }

    pub fn link(&mut self, from: (VertexIx, &str), base: VertexIx, dest: &str) -> VertexIx {
        self.copy_op(from, base, dest, true)
    }

    fn copy_op(
        &mut self,
        from: (VertexIx, &str),
        base: VertexIx,
        dest: &str,
        link: bool,
    ) -> VertexIx {
        let copy = CopyAction {
            input: 1,
            sources: vec![from.1.to_owned()],
            dest: dest.to_owned(),
            dest_is_dir: false,
            owner: None,
            chmod: None,
            excludes: Vec::new(),
            parents: false,
            unpack: false,
            local: false,
        };
        let op = Op::File(FileOp {
            base: Some(0),
            link,
            actions: vec![FileAction::Copy(copy)],
        });
        self.add(dest, op, vec![base, from.0])
    }

    fn add(&mut self, name: &str, op: Op, inputs: Vec<VertexIx>) -> VertexIx {
        let ix = self.graph.add(op, inputs);
        self.names.insert(ix, name.to_owned());
        ix
    }

    pub fn graph(&self, targets: &[VertexIx]) -> Graph {
        self.graph.clone().finish(targets)
    }

    pub fn solve(&self, targets: &[VertexIx], worker: &Fake, index: &Index) -> Answer {
        self.solve_with(targets, worker, index, &CancelToken::new())
    }

    pub fn solve_with(
        &self,
        targets: &[VertexIx],
        worker: &Fake,
        index: &Index,
        cancel: &CancelToken,
    ) -> Answer {
        let graph = self.graph(targets);
        let request = SolveRequest {
            graph: &graph,
            targets,
            names: &self.names,
            no_cache: &self.no_cache,
            parallelism: NonZeroUsize::new(8).unwrap(),
            witness: None,
        };
        let sink = CollectSink::new();
        let result = solve(&request, worker, index, &sink, cancel);
        Answer {
            result,
            events: sink.take(),
        }
    }
}

pub struct Answer {
    pub result: Result<Solved<Value>, SolveError<Refused>>,
    pub events: Vec<Event>,
}

impl Answer {
    pub fn text(&self, ix: VertexIx, path: &str) -> String {
        let solved = self.result.as_ref().unwrap();
        solved.output(ix).unwrap().files[path].clone()
    }

    pub fn updates(&self) -> impl Iterator<Item = &VertexUpdate> {
        self.events.iter().filter_map(|event| match event {
            Event::Vertex(update) => Some(update),
            _ => None,
        })
    }

    /// Last update of each vertex by name, as a short word.
    pub fn ends(&self) -> BTreeMap<String, String> {
        let word = |update: &VertexUpdate| match (&update.error, update.completed, update.cached) {
            (Some(error), _, _) => error.clone(),
            (None, Some(_), true) => "cached".to_owned(),
            (None, Some(_), false) => "made".to_owned(),
            (None, None, _) => "open".to_owned(),
        };
        self.updates().map(|u| (u.name.clone(), word(u))).collect()
    }
}
