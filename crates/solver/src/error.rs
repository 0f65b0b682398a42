//! Why a solve failed.

use std::io;

use rbuild_graph::VertexIx;

use crate::CacheError;

/// Why a solve failed; `E` is the worker's error.
///
/// Where several vertices fail at nearly the same time, the first that was heard of is reported and
/// the others count as cancelled.
#[derive(Debug, thiserror::Error)]
pub enum SolveError<E: std::error::Error + 'static> {
    /// The caller's token was set.
    #[error("cancelled")]
    Cancelled,
    /// The worker could not carry out a vertex.
    #[error("{name}")]
    Vertex {
        /// Which vertex.
        vertex: VertexIx,
        /// The step as shown to people.
        name: String,
        /// The worker's error.
        source: E,
    },
    /// The cache could not be used for a vertex.
    #[error("{name}")]
    Cache {
        /// Which vertex.
        vertex: VertexIx,
        /// The step as shown to people.
        name: String,
        /// What failed.
        source: CacheError,
    },
    /// The worker panicked: a bug, caught at the edge of the vertex.
    #[error("{name}: internal error: {message}")]
    Panicked {
        /// Which vertex.
        vertex: VertexIx,
        /// The step as shown to people.
        name: String,
        /// What the panic said.
        message: String,
    },
    /// A vertex uses an input that has no identity in another way than through selected files.
    #[error("{name}: input {input} has no key")]
    Unkeyed {
        /// Which vertex.
        vertex: VertexIx,
        /// The step as shown to people.
        name: String,
        /// Position of the input in the op's order.
        input: usize,
    },
    /// The caller's witness did not want a vertex to be carried out.
    #[error("{name}: {reason}")]
    Refused {
        /// Which vertex.
        vertex: VertexIx,
        /// The step as shown to people.
        name: String,
        /// What the witness said.
        reason: String,
    },
    /// The system refused a thread or a descriptor.
    #[error("start worker threads")]
    Threads {
        /// What the system said.
        source: io::Error,
    },
}

impl<E: std::error::Error + 'static> SolveError<E> {
    /// Returns the vertex that failed, where one did.
    pub fn vertex(&self) -> Option<VertexIx> {
        match self {
            Self::Vertex { vertex, .. }
            | Self::Cache { vertex, .. }
            | Self::Panicked { vertex, .. }
            | Self::Refused { vertex, .. }
            | Self::Unkeyed { vertex, .. } => Some(*vertex),
            Self::Cancelled | Self::Threads { .. } => None,
        }
    }
}

/// Why one vertex failed; the vertex is known to whoever holds this.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure<E: std::error::Error + 'static> {
    #[error(transparent)]
    Worker(E),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("internal error: {0}")]
    Panicked(String),
    #[error("input {0} has no key")]
    Unkeyed(usize),
    #[error("{0}")]
    Refused(String),
}

impl<E: std::error::Error + 'static> Failure<E> {
    /// Returns the failure as one line, causes included.
    pub(crate) fn line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text.replace('\n', " ")
    }

    /// Names the vertex.
    pub(crate) fn at(self, vertex: VertexIx, name: &str) -> SolveError<E> {
        let name = name.to_owned();
        match self {
            Self::Cache(CacheError::Cancelled) => SolveError::Cancelled,
            Self::Worker(source) => SolveError::Vertex {
                vertex,
                name,
                source,
            },
            Self::Cache(source) => SolveError::Cache {
                vertex,
                name,
                source,
            },
            Self::Panicked(message) => SolveError::Panicked {
                vertex,
                name,
                message,
            },
            Self::Refused(reason) => SolveError::Refused {
                vertex,
                name,
                reason,
            },
            Self::Unkeyed(input) => SolveError::Unkeyed {
                vertex,
                name,
                input,
            },
        }
    }
}
