//! FROM: what a stage starts with, what is used without a stage, and what the target ends as.

use rbuild_dockerfile::Span;
use rbuild_graph::{CopyAction, FileAction, FileOp, ImageOp, Op, VertexIx};
use rbuild_oci::{Address, ImageConfig, Platform};

use super::remote;
use super::stage::{Done, LastOf, Round, StageCx};
use crate::build::{Build, Tag};
use crate::need::{ImageAnswer, ImagePlace};
use crate::plan::BaseImage;
use crate::stage::{Base, BaseQuestion, Stage};
use crate::state::{Lineage, Root, StageState};
use crate::step_name::{PlatformPrefix, StepNames};
use crate::{Code, Diagnostic, PlanResult, path};

/// Starts a stage: its base's state, ready for its own instructions.
pub(crate) fn start<'a, 'b>(
    round: &'a Round<'a>,
    done: &'a Done,
    index: usize,
    build: &'b mut Build,
) -> StageCx<'a, 'b> {
    let table = &round.outline.table;
    let stage = &table.stages[index];
    let alone = table.stages.len() + table.hidden == 1;
    let mut names = StepNames {
        total: stage.steps,
        stage: (!alone).then(|| stage.label.clone()),
        platforms: match round.request.platforms.len() {
            0 | 1 => PlatformPrefix::Hidden,
            _ => PlatformPrefix::Shown,
        },
        done: 0,
    };
    let mut state = match &stage.base {
        Base::Scratch => StageState::scratch(round.platform),
        Base::Stage(parent) => inherit(done, *parent, round, stage, build),
        Base::Local(context) => {
            let mut state = StageState::scratch(round.platform);
            state.root = Root::Directory(local(context, stage.span, build));
            state
        }
        Base::Remote(context, tree) => {
            let mut state = StageState::scratch(round.platform);
            let label = format!("context {context}");
            state.root = Root::Layers(remote::tree(tree, (&label, stage.span), build));
            state
        }
        Base::Image(base) => match round.known.images.get(&base.question) {
            Some(answer) => image(base, answer, &mut names, stage, build),
            // Asked for and answered before any stage is started.
            None => StageState::scratch(round.platform),
        },
    };
    let globals = &round.outline.globals;
    state.params.use_globals(&stage.used, globals);
    if !stage.replaced {
        state.root = as_layers(state.root, stage.span, Some(&stage.label), build);
        begin(&mut state);
    }
    StageCx {
        round,
        done,
        build,
        stage,
        state,
        names,
        last: LastOf::default(),
    }
}

/// Brings a config that was taken over into the form that instructions expect.
fn begin(state: &mut StageState) {
    state.start_scope();
    let workdir = &mut state.config.config.working_dir;
    if !workdir.is_empty() {
        *workdir = path::join_workdir("/", workdir);
    }
}

/// A child of another stage takes over everything but the triggers, which are used up.
fn inherit(
    done: &Done,
    parent: usize,
    round: &Round<'_>,
    stage: &Stage<'_>,
    build: &mut Build,
) -> StageState {
    let Some(parent) = done.stages.get(&parent) else {
        return StageState::scratch(round.platform);
    };
    let mut state = parent.clone();
    state.config.config.on_build.clear();
    state.root = as_layers(state.root, stage.span, Some(&stage.label), build);
    state
}

/// A child of an image takes over its config, without times and triggers.
fn image(
    base: &BaseQuestion,
    answer: &ImageAnswer,
    names: &mut StepNames,
    stage: &Stage<'_>,
    build: &mut Build,
) -> StageState {
    let platform = &base.question.platform;
    check_platform(base, answer, stage.span, build);
    let mut state = StageState::scratch(platform);
    let reference = reference_text(base, answer);
    let vertex = if answer.diff_ids.is_empty() {
        None
    } else {
        let name = match &base.context {
            Some(context) => format!("[context {context}] {reference}"),
            None => names.next(&format!("FROM {reference}"), platform, &state.scope),
        };
        let tag = Tag {
            name,
            span: stage.span,
            stage: Some(stage.label.clone()),
        };
        build.add_image(image_op(base, answer), tag)
    };
    state.root = vertex.map_or(Root::Empty, Root::Layers);
    state.lineage = Lineage {
        base: Some(BaseImage {
            reference,
            manifest: answer.manifest.clone(),
            platform: platform.clone(),
            diff_ids: answer.diff_ids.clone(),
            vertex,
        }),
        base_history: answer.config.history.clone(),
        added: Vec::new(),
    };
    state.config = inherited_config(&answer.config);
    state
}

/// The part of a base's config that a child takes over; keys that no builder knows are dropped.
fn inherited_config(base: &ImageConfig) -> ImageConfig {
    let mut run = base.config.clone();
    run.on_build.clear();
    run.other.clear();
    ImageConfig {
        author: base.author.clone(),
        architecture: base.architecture.clone(),
        os: base.os.clone(),
        variant: base.variant.clone(),
        os_version: base.os_version.clone(),
        os_features: base.os_features.clone(),
        config: run,
        ..ImageConfig::default()
    }
}

fn check_platform(base: &BaseQuestion, answer: &ImageAnswer, span: Span, build: &mut Build) {
    let (wanted, found) = (
        &base.question.platform,
        answer.config.platform().normalized(),
    );
    // Whoever names a context has chosen its platform.
    if base.context.is_some()
        || found.os.is_empty()
        || (wanted.os == found.os && wanted.architecture == found.architecture)
    {
        return;
    }
    let name = match &base.question.place {
        ImagePlace::Reference(reference) => reference.to_string(),
        ImagePlace::Layout { dir, .. } => dir.clone(),
        ImagePlace::Address(address) => address.to_string(),
    };
    let message = format!(
        "Base image {name} was pulled with platform \"{found}\", \
         expected \"{wanted}\" for current build"
    );
    build.report(Diagnostic::warning(
        Code::InvalidBaseImagePlatform,
        span,
        message,
    ));
}

fn reference_text(base: &BaseQuestion, answer: &ImageAnswer) -> String {
    let digest = answer.pinned.as_ref().unwrap_or(&answer.manifest);
    match &base.question.place {
        ImagePlace::Reference(reference) => reference.with_digest(digest.clone()).to_string(),
        ImagePlace::Layout { dir, .. } => format!("{dir}@{digest}"),
        ImagePlace::Address(Address::Registry(name)) => {
            name.with_digest(digest.clone()).to_string()
        }
        ImagePlace::Address(address) => format!("{address}@{digest}"),
    }
}

fn image_op(base: &BaseQuestion, answer: &ImageAnswer) -> ImageOp {
    ImageOp {
        reference: reference_text(base, answer),
        manifest: answer.manifest.clone(),
        platform: base.question.platform.clone(),
        diff_ids: answer.diff_ids.clone(),
        origin: answer.origin.clone(),
    }
}

fn local(context: &str, span: Span, build: &mut Build) -> VertexIx {
    let tag = Tag {
        name: format!("[context {context}] load from client"),
        span,
        stage: None,
    };
    build.add_local(context, tag)
}

/// A root that steps can run on: a directory of the user's is copied into a layer.
fn as_layers(root: Root, span: Span, stage: Option<&str>, build: &mut Build) -> Root {
    let Root::Directory(vertex) = root else {
        return root;
    };
    let copy = CopyAction {
        input: 0,
        sources: vec!["/".to_owned()],
        dest: "/".to_owned(),
        dest_is_dir: true,
        owner: None,
        chmod: None,
        excludes: Vec::new(),
        parents: false,
        unpack: false,
        local: true,
    };
    let op = FileOp {
        base: None,
        link: false,
        actions: vec![FileAction::Copy(copy)],
    };
    let tag = Tag {
        name: "[internal] use the directory as a root file system".to_owned(),
        span,
        stage: stage.map(str::to_owned),
    };
    Root::Layers(build.add(Op::File(op), vec![vertex], tag))
}

/// The files of an image or context that is used without a stage of its own.
pub(crate) fn outside(round: &Round<'_>, index: usize, build: &mut Build) -> Root {
    let outside = &round.outline.table.outside[index];
    let base = match &outside.base {
        Base::Local(context) => return Root::Directory(local(context, outside.span, build)),
        Base::Remote(context, tree) => {
            let label = format!("context {context}");
            return Root::Layers(remote::tree(tree, (&label, outside.span), build));
        }
        Base::Image(base) => base,
        Base::Scratch | Base::Stage(_) => return Root::Empty,
    };
    let Some(answer) = round.known.images.get(&base.question) else {
        return Root::Empty;
    };
    let reference = reference_text(base, answer);
    let name = match &base.context {
        Some(context) => format!("[context {context}] {reference}"),
        None => format!("FROM {reference}"),
    };
    let tag = Tag {
        name,
        span: outside.span,
        stage: None,
    };
    let vertex = build.add_image(image_op(base, answer), tag);
    vertex.map_or(Root::Empty, Root::Layers)
}

/// The result: the target's state with labels and platform of the request.
pub(crate) fn result(round: &Round<'_>, done: &Done, build: &mut Build) -> PlanResult {
    let outline = round.outline;
    let stage = &outline.table.stages[outline.target];
    let mut state = match done.stages.get(&outline.target) {
        Some(state) => state.clone(),
        None => StageState::scratch(round.platform),
    };
    if !round.request.platforms.is_empty() {
        set_platform(&mut state.config, round.platform);
    }
    let labels = &mut state.config.config.labels;
    labels.extend(round.request.labels.clone());
    let edge = match as_layers(state.root, stage.span, Some(&stage.label), build) {
        Root::Layers(vertex) => Some(vertex),
        Root::Empty | Root::Directory(_) => None,
    };
    PlanResult {
        platform: state.config.platform().normalized(),
        edge,
        config: state.config,
        base_history: state.lineage.base_history,
        history: state.lineage.added,
        base: state.lineage.base,
    }
}

/// Puts the platform that was asked for into the config; a variant that was not asked for stays.
fn set_platform(config: &mut ImageConfig, platform: &Platform) {
    let same = config.os == platform.os && config.architecture == platform.architecture;
    if !same {
        config.set_platform(platform);
        return;
    }
    if platform.variant.is_some() {
        config.variant.clone_from(&platform.variant);
    }
    if platform.os_version.is_some() {
        config.os_version.clone_from(&platform.os_version);
    }
    if !platform.os_features.is_empty() {
        config.os_features.clone_from(&platform.os_features);
    }
}
