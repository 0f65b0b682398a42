//! The trait that carries out ops.

use rbuild_graph::Vertex;
use rbuild_oci::Digest;
use rbuild_progress::{CancelToken, Sink, VertexKey};

/// Carries out the ops of a graph; called from several threads at once.
///
/// Every method whose context holds a [`CancelToken`] returns an error soon after it is set; which
/// one does not matter, the solver reports a cancellation.
pub trait Worker: Send + Sync {
    /// What a vertex yields; a handle that is cheap to clone.
    type Output: Clone + Send + Sync + 'static;
    /// Why an op failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Returns the content digest of what input number `input` contributes to `vertex`: the files
    /// that its op selects there and nothing else.
    ///
    /// Asked only for inputs whose use is [`rbuild_graph::InputUse::Files`]; `from` is that input's
    /// result. `None` lets the input count by its identity, which
    /// an input without one (a local directory) does not have.
    fn content(
        &self,
        vertex: &Vertex,
        input: usize,
        from: &Self::Output,
        cx: &OpContext<'_>,
    ) -> Result<Option<Digest>, Self::Error>;

    /// Keeps a list of the files that input number `input` contributes to `vertex`, and returns its name;
    /// `None` if there is none to keep.
    ///
    /// For explaining later misses: asked for inputs with a content digest of a vertex that is about to
    /// be carried out. An error only loses the explanation.
    fn list_files(
        &self,
        _vertex: &Vertex,
        _input: usize,
        _from: &Self::Output,
        _cx: &OpContext<'_>,
    ) -> Result<Option<Digest>, Self::Error> {
        Ok(None)
    }

    /// Carries out a source: says what it yields and what it stands for.
    ///
    /// Called for sources only ([`rbuild_graph::Op::is_source`]). Cheap for what is here, a
    /// registration: it happens in every build, cached or not. What is in the network is asked for
    /// on a thread of the pool.
    fn supply(
        &self,
        vertex: &Vertex,
        cx: &OpContext<'_>,
    ) -> Result<Supplied<Self::Output>, Self::Error>;

    /// Carries out an op that is no source.
    fn run(
        &self,
        vertex: &Vertex,
        inputs: &[Self::Output],
        cx: &OpContext<'_>,
    ) -> Result<Self::Output, Self::Error>;

    /// Returns what a record keeps of a result.
    ///
    /// Bytes of two runs differ unless their results are the same one: they tell results of forced
    /// runs apart. A linked copy keeps only what it adds, since its record is found over any base.
    fn save(&self, output: &Self::Output) -> Result<Vec<u8>, Self::Error>;

    /// Returns the result that `saved` stands for, or `None` if it is gone and must be made again.
    ///
    /// Cheap: it happens to every vertex of a cached build. `saved` may come from a build whose
    /// inputs had equal keys; `base` is what this build's result is stacked on, if on anything.
    fn load(
        &self,
        vertex: &Vertex,
        saved: &[u8],
        base: Option<&Self::Output>,
    ) -> Result<Option<Self::Output>, Self::Error>;

    /// Whether [`Worker::load`] would find what `saved` stands for. Looks at names only.
    fn is_kept(&self, saved: &[u8]) -> bool;
}

/// What a source yields.
#[derive(Debug, Clone)]
pub struct Supplied<O> {
    /// The result.
    pub output: O,
    /// What it stands for in the keys of its consumers: of an image its manifest and platform, of a
    /// file in the network its content. `None` lets it count by the content of selected files only
    /// (a local directory).
    pub key: Option<Digest>,
    /// How people see it.
    pub presence: Presence,
}

/// Where the bytes of a source are, as far as people are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Here since an earlier build: shown as cached.
    Kept,
    /// Just read, or to be fetched once they are needed.
    Fresh,
}

/// What an op is told about the build it is part of.
#[derive(Clone)]
pub struct OpContext<'a> {
    /// Names the vertex in events.
    pub key: VertexKey,
    /// Hears the op's status, logs and warnings; vertex events are the solver's.
    pub sink: &'a dyn Sink,
    /// Set when the build is interrupted or another vertex failed.
    pub cancel: &'a CancelToken,
}
