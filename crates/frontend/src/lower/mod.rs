//! Lowering: from the tree to a plan, platform by platform, stage by stage.
//!
//! This file is the outline and the dispatch; each family of instructions has a file of its own.

mod arg;
mod chmod;
mod command;
mod copy;
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

use rbuild_dockerfile::{Dockerfile, InstructionKind};
use rbuild_oci::Platform;

use self::stage::{Done, Round, StageCx};
use crate::build::Build;
use crate::stage::Command;
use crate::{Code, Diagnostic, Known, LowerRequest, Lowering, PlanResult, epoch};

/// Lowers a Dockerfile to a plan, or says what it must be told first.
///
/// A function of its arguments. Each round of questions is complete as far as it can be seen;
/// ONBUILD triggers of an image may lead to another. Errors are in file order, and lowering goes
/// on after an error wherever that can find another one that does not follow from it.
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
    let mut results = Vec::new();
    let mut source_epoch = request.source_epoch;
    for platform in platforms(request) {
        let outline = outline::outline(dockerfile, request, &platform, &mut build);
        let Some(mut outline) = outline else {
            continue;
        };
        match epoch::source_epoch(request, &outline.globals, &outline.table) {
            Ok(found) => source_epoch = found,
            Err(error) => build.report(error),
        }
        outline::answer(&mut outline, known, &mut build);
        if build.has_errors() || build.has_questions() {
            continue;
        }
        let round = Round {
            dockerfile,
            request,
            known,
            outline: &outline,
            platform: &platform,
            source_epoch,
        };
        results.push(lower_platform(&round, &mut build));
    }
    finish(build, results, source_epoch)
}

fn finish(
    mut build: Build,
    results: Vec<PlanResult>,
    source_epoch: Option<i64>,
) -> Result<Lowering, Vec<Diagnostic>> {
    let errors = build.take_errors();
    if !errors.is_empty() {
        return Err(errors);
    }
    let questions = build.take_questions();
    if !questions.is_empty() {
        return Ok(Lowering::Need(questions));
    }
    Ok(Lowering::Done(Box::new(
        build.finish(results, source_epoch),
    )))
}

fn platforms(request: &LowerRequest) -> Vec<Platform> {
    match request.platforms.as_slice() {
        [] => vec![request.build_platform.clone()],
        platforms => platforms.to_vec(),
    }
}

/// Lowers every stage that the target needs, in file order, and takes the target's result.
fn lower_platform(round: &Round<'_>, build: &mut Build) -> PlanResult {
    let outline = round.outline;
    let reachable = outline.table.reachable(outline.target);
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
