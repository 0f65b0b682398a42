//! A check of a Dockerfile: all that the rules find, and what would stop a build, without one.

use std::path::PathBuf;
use std::sync::Arc;

use rbuild_dockerfile::{Dockerfile, LineRange, Parsed, SourceFile, Span};
use rbuild_frontend::{Diagnostic, Entitlements, Extent, Known, Linting, LowerRequest, lint};
use rbuild_progress::{CancelToken, Sink};
use rbuild_store::Lease;

use crate::answer::Answers;
use crate::elsewhere::{Elsewhere, Fetching};
use crate::engine::Engine;
use crate::intake::{self, DockerfileText};
use crate::lint::{Found, of_frontend, of_parser, violation};
use crate::places::Places;
use crate::stand_in::made_up;
use crate::wishes::Wishes;
use crate::workers::Agents;
use crate::{BuildError, BuildRequest, ErrorKind, Report, Result, planning, warnings};

/// What a check found.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// The Dockerfile; its name is what messages call it.
    pub source: SourceFile,
    /// Where it lies, if it is a file.
    pub path: Option<PathBuf>,
    /// The breaches of rules that the file does not skip, by line.
    pub findings: Vec<Finding>,
    /// Why it cannot be built, if it cannot.
    pub error: Option<Report>,
}

/// A breach of a rule.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Name of the rule.
    pub rule: &'static str,
    /// Why it is one, as a sentence.
    pub reason: &'static str,
    /// Where to read about it, if there is a page.
    pub url: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do, as a sentence.
    pub help: Option<String>,
    /// The lines of the instruction; first line 0 when no place is to blame.
    pub lines: LineRange,
    /// The bytes to point at, if they are known more exactly.
    pub span: Option<Span>,
}

/// Checks the Dockerfile of a request: the stages that its target needs, or without one all of them.
///
/// Images are looked up as in a build. Where that fails the check goes on with a made-up one, and the
/// failure is in the report.
///
/// Errors: there is no Dockerfile or context, or `cancel` is set.
pub(crate) fn check(
    engine: &Engine,
    request: &BuildRequest,
    sink: &dyn Sink,
    cancel: &CancelToken,
) -> Result<CheckReport> {
    let lease = Arc::new(engine.store().lease(&[])?.0);
    let (dockerfile, elsewhere) = planning::definition(&Fetching {
        engine,
        request,
        agents: &Agents::of(request),
        lease: &lease,
        sink,
        cancel,
    })?;
    let places = Places::new(&dockerfile.name, &dockerfile.text);
    let parsed = rbuild_dockerfile::parse(&dockerfile.text);
    let mut found = of_parser(&parsed);
    let mut error = places.check_parsed(&parsed).err();
    if error.is_none() {
        let wanted = wanted(request, &dockerfile, elsewhere.as_ref())?;
        let mut answers = answers((engine, &lease), request, &parsed.dockerfile);
        let tools = (&places, sink, cancel);
        let (more, failed) = linted(&parsed.dockerfile, &wanted, &mut answers, tools)?;
        found.extend(of_frontend(&places, &more));
        let is_wrong = more.iter().any(Diagnostic::is_error);
        error = is_wrong.then(|| places.lowering_error(&more)).or(failed);
    }
    let (findings, refused) = judged(request, (&parsed, &places), found);
    Ok(CheckReport {
        source: SourceFile::new(dockerfile.name, dockerfile.text),
        path: dockerfile.path,
        findings,
        error: error.or(refused).map(|error| error.report()),
    })
}

fn wanted(
    request: &BuildRequest,
    dockerfile: &DockerfileText,
    elsewhere: Option<&Elsewhere>,
) -> Result<LowerRequest> {
    let mut wanted = planning::lower_request(request, elsewhere)?;
    if elsewhere.is_none() {
        let found = intake::ignored(request, dockerfile);
        wanted.ignored = found.map(|(set, _)| set).filter(|set| !set.is_empty());
    }
    if wanted.target.is_none() {
        wanted.extent = Extent::All;
    }
    // Whoever builds decides about rights; a check does not ask for them.
    wanted.entitlements = Entitlements {
        network_host: true,
        security_insecure: true,
    };
    Ok(wanted)
}

fn answers<'a>(
    (engine, lease): (&'a Engine, &'a Lease),
    request: &BuildRequest,
    tree: &Dockerfile,
) -> Answers<'a> {
    let names = tree.stages.iter().filter_map(|stage| stage.name.as_ref());
    let names = names.map(|name| name.text.clone()).collect();
    Answers::new((engine, lease), (request.pull, request.resolve), names)
}

/// What lowering finds, and why the first image that could not be looked up could not.
fn linted(
    tree: &Dockerfile,
    wanted: &LowerRequest,
    answers: &mut Answers<'_>,
    (places, sink, cancel): (&Places, &dyn Sink, &CancelToken),
) -> Result<(Vec<Diagnostic>, Option<BuildError>)> {
    let mut known = Known::new();
    let mut failed = None;
    loop {
        cancel.check()?;
        let questions = match lint(tree, wanted, &known) {
            Linting::Done(found) => return Ok((found, failed)),
            Linting::Need(questions) => questions,
        };
        match answers.answer(&questions, places, (sink, cancel)) {
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => drop(failed.get_or_insert(error)),
            Ok(()) => {}
        }
        known.images.extend(answers.known().images.clone());
        for question in questions {
            let made_up = || made_up(&question.image);
            known
                .images
                .entry(question.image.clone())
                .or_insert_with(made_up);
        }
    }
}

/// The findings that the file wants to hear of, by line, and the error that they amount to.
fn judged(
    request: &BuildRequest,
    (parsed, places): (&Parsed, &Places),
    mut found: Vec<Found>,
) -> (Vec<Finding>, Option<BuildError>) {
    let text = warnings::options_text(parsed, &request.build_args);
    let wishes = match Wishes::read(parsed, text) {
        Ok(wishes) => wishes,
        Err(error) => return (Vec::new(), Some(BuildError::build(error.to_string()))),
    };
    let directive = warnings::directive_place(parsed, &request.build_args);
    found.extend(wishes.misspelt(directive, places));
    found.retain(|found| wishes.want(found));
    let refused = violation(&wishes.options, &found).map(BuildError::build);
    found.sort_by_key(|found| found.lines.first);
    (found.into_iter().map(Finding::from).collect(), refused)
}

impl From<Found> for Finding {
    fn from(found: Found) -> Self {
        Self {
            rule: found.rule.name,
            reason: found.rule.reason,
            url: found.rule.url(),
            message: found.message,
            help: found.help,
            lines: found.lines,
            span: found.span,
        }
    }
}
