//! The instruction DAG: ops, vertices, definition digests, drawing.
//!
//! A [`Graph`] says *what* a build has to do and in which order it may be done. It is made by the
//! front end, walked by the solver and carried out by a worker; it knows nothing of Dockerfiles,
//! of line numbers or of how an op is run.
//!
//! A graph cannot hold a circle: [`GraphBuilder::add`] only accepts inputs that are already there.
//! Equal vertices exist once: their [`VertexId`], a digest over the op and the ids of the inputs,
//! is the key under which the builder interns them.
//!
//! ```
//! use rbuild_graph::{GraphBuilder, LocalOp, Op};
//!
//! let mut builder = GraphBuilder::new();
//! let context = || Op::Local(LocalOp { name: "context".into() });
//! let first = builder.add(context(), vec![]);
//! assert_eq!(builder.add(context(), vec![]), first);
//! assert_eq!(builder.finish(&[first]).topological(), [first]);
//! ```

mod canon;
mod digest;
mod dot;
mod exec;
mod file;
mod graph;
mod op;
mod remote;
mod vertex;

pub use digest::{keyed_source, op_key};
pub use exec::{ExecMount, ExecMountKind, ExecOp, NetworkMode, SecurityMode, Sharing, Ulimit};
pub use file::{Chmod, CopyAction, FileAction, FileOp, MkdirAction, Owner, OwnerId, WriteAction};
pub use graph::{Graph, GraphBuilder};
pub use op::{ImageOp, ImageOrigin, InputUse, LocalOp, Op};
pub use remote::{GitOp, GitTake, GitTimes, HttpOp};
pub use vertex::{Vertex, VertexId, VertexIx};
