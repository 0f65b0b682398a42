//! Circles among the stages of a file: stages that take files from each other.

use rbuild_dockerfile::Span;

use crate::stage::{Source, Table};
use crate::{Code, Diagnostic};

/// Finds the first circle, looking from each stage in file order.
///
/// The walk keeps its own stack: a file may have more stages than a thread has stack frames.
pub(crate) fn find(table: &Table<'_>) -> Option<Diagnostic> {
    let edges: Vec<Vec<(usize, Span)>> = (0..table.stages.len())
        .map(|index| sources(table, index))
        .collect();
    let mut marks = vec![Mark::New; edges.len()];
    for (start, stage) in table.stages.iter().enumerate() {
        if let Some(spans) = walk(start, &edges, &mut marks) {
            let message = format!("circular dependency detected on stage: {}", stage.label);
            let found = Diagnostic::error_nowhere(Code::CircularDependency, message);
            return Some(Diagnostic { spans, ..found });
        }
    }
    None
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnPath,
    Done,
}

/// The stages that a stage takes files from, and the commands that do so.
fn sources(table: &Table<'_>, index: usize) -> Vec<(usize, Span)> {
    let commands = table.stages[index].commands.iter();
    let pairs = commands.flat_map(|c| c.sources.iter().flatten().map(|source| (source, c.span)));
    pairs
        .filter_map(|(source, span)| match source {
            Source::Stage(stage) => Some((*stage, span)),
            Source::Outside(_) => None,
        })
        .collect()
}

/// The commands that lead from `start` into a circle.
fn walk(start: usize, edges: &[Vec<(usize, Span)>], marks: &mut [Mark]) -> Option<Vec<Span>> {
    if marks[start] != Mark::New {
        return None;
    }
    marks[start] = Mark::OnPath;
    let mut path = vec![(start, 0)];
    let mut spans = Vec::new();
    while let Some((stage, next)) = path.last_mut() {
        let Some(&(source, span)) = edges[*stage].get(*next) else {
            marks[*stage] = Mark::Done;
            path.pop();
            spans.pop();
            continue;
        };
        *next += 1;
        match marks[source] {
            Mark::Done => {}
            Mark::OnPath => {
                spans.push(span);
                return Some(spans);
            }
            Mark::New => {
                marks[source] = Mark::OnPath;
                spans.push(span);
                path.push((source, 0));
            }
        }
    }
    None
}
