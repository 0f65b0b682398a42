//! Lowering: from the tree to a plan, platform by platform, stage by stage.
//!
//! This file is the outline and the dispatch; each family of instructions has a file of its own.

mod arg;
mod chmod;
mod command;
mod copy;
mod device;
mod env;
mod expose;
mod from;
mod healthcheck;
mod label;
mod maintainer;
mod mount;
mod onbuild;
mod outline;
mod owner;
mod remote;
mod run;
mod shell;
mod stage;
mod stopsignal;
mod user;
mod volume;
mod workdir;

pub(crate) use self::copy::{OneSource, one_source};
pub(crate) use self::outline::outline;
pub use self::remote::context_graph;

use rbuild_dockerfile::{Dockerfile, InstructionKind};
use rbuild_oci::Platform;

use self::stage::Round;
pub(crate) use self::stage::{Done, StageCx};
use crate::build::Build;
use crate::stage::Command;
use crate::{
    Code, Diagnostic, Extent, Known, LowerRequest, Lowering, PlanResult, Question, epoch, params,
};

/// Lowers a Dockerfile to a plan, or says what it must be told first.
///
/// A function of its arguments. Each round of questions is complete as far as it can be seen;
/// ONBUILD triggers of an image may lead to another. Errors come with the warnings among them, in
/// file order, and lowering goes on after an error wherever that can find another one that does not
/// follow from it.
pub fn lower(
    dockerfile: &Dockerfile,
    request: &LowerRequest,
    known: &Known,
) -> Result<Lowering, Vec<Diagnostic>> {
    if dockerfile.stages.is_empty() {
        let message = "dockerfile contains no stages to build";
        return Err(vec![Diagnostic::error_nowhere(Code::NoStages, message)]);
    }
    let mut build = Build::default();
    let (results, source_epoch) = lower_platforms(dockerfile, request, known, &mut build);
    finish(build, results, (source_epoch, request.extent))
}

/// The outcome of one call of [`lint`].
#[derive(Debug, Clone, PartialEq)]
pub enum Linting {
    /// These must be answered first; not empty, each asked once.
    Need(Vec<Question>),
    /// All warnings and errors in the order in which they were found, which is BuildKit's: what
    /// stands behind the first error BuildKit never comes to see.
    Done(Vec<Diagnostic>),
}

/// Finds what is doubtful or wrong in a Dockerfile, without stopping at either.
///
/// Asks as [`lower`] does; [`Extent::All`](crate::Extent) has it look at every stage.
pub fn lint(dockerfile: &Dockerfile, request: &LowerRequest, known: &Known) -> Linting {
    let mut build = Build::default();
    lower_platforms(dockerfile, request, known, &mut build);
    let questions = build.take_questions();
    if questions.is_empty() || build.has_errors() {
        return Linting::Done(build.into_findings());
    }
    Linting::Need(questions)
}

/// Lowers for each platform as far as it goes; what is missing or wrong is in `build`.
fn lower_platforms(
    dockerfile: &Dockerfile,
    request: &LowerRequest,
    known: &Known,
    build: &mut Build,
) -> (Vec<PlanResult>, Option<i64>) {
    let mut results = Vec::new();
    let mut source_epoch = request.source_epoch;
    let escape = dockerfile.directives.escape;
    for (at, platform) in platforms(request).into_iter().enumerate() {
        if at > 0 {
            build.mute_warnings();
        }
        let outline = outline(dockerfile, request, &platform, build);
        let Some(mut outline) = outline else {
            continue;
        };
        match epoch::source_epoch(request, (&outline.globals, escape), &outline.table) {
            Ok(found) => source_epoch = found,
            Err(error) => build.report(error),
        }
        let request = epoch::settled(request, &mut outline.globals, source_epoch);
        outline::answer(&mut outline, known, build);
        if build.has_errors() || build.has_questions() {
            continue;
        }
        let round = Round {
            dockerfile,
            request: &request,
            known,
            outline: &outline,
            platform: &platform,
            source_epoch,
        };
        results.push(lower_platform(&round, build));
    }
    (results, source_epoch)
}

fn finish(
    mut build: Build,
    results: Vec<PlanResult>,
    (source_epoch, extent): (Option<i64>, Extent),
) -> Result<Lowering, Vec<Diagnostic>> {
    if build.has_errors() {
        return Err(build.into_ordered_findings());
    }
    let questions = build.take_questions();
    if !questions.is_empty() {
        return Ok(Lowering::Need(questions));
    }
    Ok(Lowering::Done(Box::new(match extent {
        Extent::Target => build.finish(results, source_epoch),
        Extent::All => build.finish_whole(results, source_epoch),
    })))
}

pub(crate) fn platforms(request: &LowerRequest) -> Vec<Platform> {
    match request.platforms.as_slice() {
        [] => vec![request.build_platform.clone()],
        platforms => platforms.to_vec(),
    }
}

/// Lowers every stage that the target needs, in file order, and takes the target's result.
fn lower_platform(round: &Round<'_>, build: &mut Build) -> PlanResult {
    let outline = round.outline;
    let reachable = outline.table.wanted(outline.target);
    let mut done = Done::default();
    for &index in &reachable.outside {
        let root = from::outside(round, index, build);
        done.outside.insert(index, root);
    }
    for &index in &reachable.stages {
        let mut stage = from::start(round, &done, index, build);
        for command in &outline.table.stages[index].commands {
            if let Err(error) = instruction(&mut stage, command) {
                stage.build.report(error);
            }
        }
        let state = stage.finish();
        done.stages.insert(index, state);
    }
    let mut found = params::outline(&outline.table, outline.target, &done);
    found.description = round.dockerfile.stages[outline.target].doc.clone();
    build.set_outline(found);
    from::result(round, &done, build)
}

/// What lowering one instruction comes to.
type Outcome = Result<(), Diagnostic>;

/// Lowers one instruction.
fn instruction(stage: &mut StageCx<'_, '_>, command: &Command<'_>) -> Outcome {
    match &command.instruction.kind {
        InstructionKind::Add(add) => copy::add(stage, command, add),
        InstructionKind::Arg(arg) => arg::lower(stage, command, arg),
        InstructionKind::Cmd(cmd) => command::cmd(stage, command, cmd),
        InstructionKind::Copy(copy) => copy::copy(stage, command, copy),
        InstructionKind::Entrypoint(entry) => command::entrypoint(stage, command, entry),
        InstructionKind::Env(env) => env::lower(stage, command, env),
        InstructionKind::Expose(expose) => expose::lower(stage, command, expose),
        InstructionKind::Healthcheck(check) => healthcheck::lower(stage, command, check),
        InstructionKind::Label(label) => label::lower(stage, command, label),
        InstructionKind::Maintainer(maintainer) => maintainer::lower(stage, maintainer),
        InstructionKind::Onbuild(onbuild) => onbuild::lower(stage, onbuild),
        InstructionKind::Run(run) => run::lower(stage, command, run),
        InstructionKind::Shell(shell) => shell::lower(stage, shell),
        InstructionKind::Stopsignal(signal) => stopsignal::lower(stage, command, signal),
        InstructionKind::User(user) => user::lower(stage, command, user),
        InstructionKind::Volume(volume) => volume::lower(stage, command, volume),
        InstructionKind::Workdir(workdir) => workdir::lower(stage, command, workdir),
    }
}
