//! What lowering collects: the graph under construction and the tables beside it.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::Span;
use rbuild_graph::{FileOp, GraphBuilder, ImageOp, LocalOp, Op, VertexIx};

use crate::need::{ImageQuestion, Question};
use crate::{Diagnostic, Plan, PlanResult, TargetOutline};

/// The graph under construction and the tables beside it.
#[derive(Debug, Default)]
pub(crate) struct Build {
    graph: GraphBuilder,
    names: BTreeMap<VertexIx, String>,
    origins: BTreeMap<VertexIx, BTreeSet<Span>>,
    stages: BTreeMap<VertexIx, BTreeSet<String>>,
    no_cache: BTreeSet<VertexIx>,
    exec_args: BTreeMap<VertexIx, String>,
    diagnostics: Vec<Diagnostic>,
    muted: bool,
    outline: Option<TargetOutline>,
    questions: BTreeMap<ImageQuestion, BTreeSet<Span>>,
}

/// What a vertex is called and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    /// Name for progress.
    pub(crate) name: String,
    /// The instruction.
    pub(crate) span: Span,
    /// The stage, by label; `None` for what belongs to no stage.
    pub(crate) stage: Option<String>,
}

impl Build {
    /// Adds a vertex; of equal ones the first gives the name, all give their places.
    pub(crate) fn add(&mut self, op: Op, inputs: Vec<VertexIx>, tag: Tag) -> VertexIx {
        let ix = self.graph.add(op, inputs);
        self.names.entry(ix).or_insert(tag.name);
        self.origins.entry(ix).or_default().insert(tag.span);
        if let Some(stage) = tag.stage {
            self.stages.entry(ix).or_default().insert(stage);
        }
        ix
    }

    /// Adds the layers of an image; `None` when it has none.
    pub(crate) fn add_image(&mut self, image: ImageOp, tag: Tag) -> Option<VertexIx> {
        (!image.diff_ids.is_empty()).then(|| self.add(Op::Image(image), Vec::new(), tag))
    }

    /// Adds a directory of the user's.
    pub(crate) fn add_local(&mut self, context: &str, tag: Tag) -> VertexIx {
        let name = context.to_owned();
        self.add(Op::Local(LocalOp { name }), Vec::new(), tag)
    }

    /// Adds an empty root, for steps that read from a stage without files.
    pub(crate) fn add_empty(&mut self, span: Span) -> VertexIx {
        let op = FileOp {
            base: None,
            link: false,
            actions: Vec::new(),
        };
        let tag = Tag {
            name: "[internal] empty file system".to_owned(),
            span,
            stage: None,
        };
        self.add(Op::File(op), Vec::new(), tag)
    }

    /// Marks a vertex that must not be taken from the cache.
    pub(crate) fn ignore_cache(&mut self, ix: VertexIx) {
        self.no_cache.insert(ix);
    }

    /// Remembers the arguments of an exec for messages.
    pub(crate) fn exec_args(&mut self, ix: VertexIx, text: String) {
        self.exec_args.entry(ix).or_insert(text);
    }

    /// Reports a finding; the same one, found for another platform, is dropped at the end.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        if diagnostic.is_error() || !self.muted {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Takes no more warnings: the first platform has given them all.
    pub(crate) fn mute_warnings(&mut self) {
        self.muted = true;
    }

    /// Keeps what the target takes from outside; that of the first platform.
    pub(crate) fn set_outline(&mut self, outline: TargetOutline) {
        self.outline.get_or_insert(outline);
    }

    /// All findings in the order in which they were made, each error once.
    pub(crate) fn into_findings(self) -> Vec<Diagnostic> {
        once(self.diagnostics)
    }

    /// Asks for an image.
    pub(crate) fn ask(&mut self, question: &ImageQuestion, span: Span) {
        let spans = self.questions.entry(question.clone()).or_default();
        spans.insert(span);
    }

    /// Whether something was asked.
    pub(crate) fn has_questions(&self) -> bool {
        !self.questions.is_empty()
    }

    /// Whether there is no point in going on.
    pub(crate) fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// All findings in file order.
    pub(crate) fn into_ordered_findings(self) -> Vec<Diagnostic> {
        in_file_order(self.diagnostics)
    }

    /// All questions; empty when everything is known.
    pub(crate) fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
            .into_iter()
            .map(|(image, origins)| Question {
                image,
                origins: origins.into_iter().collect(),
            })
            .collect()
    }

    /// Prunes to what the results need and hands everything over.
    pub(crate) fn finish(self, results: Vec<PlanResult>, source_epoch: Option<i64>) -> Plan {
        let targets: Vec<VertexIx> = results.iter().filter_map(|result| result.edge).collect();
        self.finish_targets(&targets, results, source_epoch)
    }

    /// Hands everything over, also what the results do not need.
    pub(crate) fn finish_whole(self, results: Vec<PlanResult>, source_epoch: Option<i64>) -> Plan {
        let all: Vec<VertexIx> = self.names.keys().copied().collect();
        self.finish_targets(&all, results, source_epoch)
    }

    /// Prunes to what one vertex needs, without a result.
    pub(crate) fn finish_at(self, top: VertexIx) -> Plan {
        self.finish_targets(&[top], Vec::new(), None)
    }

    fn finish_targets(
        self,
        targets: &[VertexIx],
        results: Vec<PlanResult>,
        source_epoch: Option<i64>,
    ) -> Plan {
        let graph = self.graph.finish(targets);
        let origins = self.origins.into_iter();
        let origins = origins.map(|(ix, spans)| (ix, spans.into_iter().collect()));
        let kept = |ix: &VertexIx| graph.get(*ix).is_some();
        Plan {
            results,
            names: keep(self.names, kept),
            origins: origins.filter(|(ix, _)| kept(ix)).collect(),
            stages: keep(self.stages, kept),
            no_cache: self.no_cache.into_iter().filter(kept).collect(),
            exec_args: keep(self.exec_args, kept),
            source_epoch,
            outline: self.outline.unwrap_or_default(),
            warnings: in_file_order(self.diagnostics),
            graph,
        }
    }
}

fn keep<T>(
    table: BTreeMap<VertexIx, T>,
    kept: impl Fn(&VertexIx) -> bool,
) -> BTreeMap<VertexIx, T> {
    table.into_iter().filter(|(ix, _)| kept(ix)).collect()
}

/// Each error once, by its place; at one place in the order in which they were found.
fn in_file_order(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.sort_by_key(|finding| finding.spans.first().map_or(0, |span| span.start));
    once(found)
}

fn once(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut seen = BTreeSet::new();
    found.retain(|finding| {
        let known = (finding.spans.clone(), finding.code, finding.message.clone());
        // The same warning may be due twice for one instruction; errors come once for each platform.
        !finding.is_error() || seen.insert(known)
    });
    found
}
