//! Before any instruction: global arguments, the stage table, the target, ONBUILD triggers and
//! the images that must be known.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rbuild_dockerfile::{Dockerfile, InstructionKind, Span, Word};
use rbuild_oci::Platform;

use crate::build::Build;
use crate::expand::{Expanded, Lexer, expand, unset_names};
use crate::need::Known;
use crate::scope::{Globals, expansion_error, globals};
use crate::stage::{Base, Command, Stage, Table, Written};
use crate::suggest::{nearest, with_suggestion};
use crate::{Code, Diagnostic, LowerRequest, circle, lint, trigger};

/// What is known of a file before its instructions are lowered.
#[derive(Debug)]
pub(crate) struct Outline<'a> {
    /// The variables that FROM lines see.
    pub(crate) globals: Globals,
    /// The stages.
    pub(crate) table: Table<'a>,
    /// The stage that is wanted.
    pub(crate) target: usize,
}

/// Makes the outline; reports what is wrong, and returns `None` when there is no going on.
pub(crate) fn outline<'a>(
    dockerfile: &'a Dockerfile,
    request: &'a LowerRequest,
    platform: &'a Platform,
    build: &mut Build,
) -> Option<Outline<'a>> {
    let mut errors = Vec::new();
    let globals = globals(dockerfile, request, platform, &mut errors);
    check_defaults(dockerfile, &globals, build);
    if !errors.is_empty() {
        errors.into_iter().for_each(|error| build.report(error));
        // What FROM lines lack would only follow from these.
        return None;
    }
    let mut table = Table::new(request, platform);
    let mut reader = FromReader {
        dockerfile,
        globals: &globals,
        platform,
        build,
    };
    let mut late = Vec::new();
    for index in 0..dockerfile.stages.len() {
        match reader.stage(&table, index) {
            Ok(stage) => table.push(stage),
            // The stage is kept, so that its number and name stay good for the others.
            Err(error) => {
                let broken = reader.broken(index);
                match error.code {
                    Code::InvalidReference => late.push(error),
                    _ => reader.build.report(error),
                }
                table.push(broken);
            }
        }
    }
    let target = target(&table, request, build);
    link(dockerfile, &mut table, build);
    if let Some(circle) = circle::find(&table) {
        build.report(circle);
    }
    // BuildKit reads image names when it looks them up, after everything above.
    late.into_iter().for_each(|error| build.report(error));
    if build.has_errors() {
        return None;
    }
    Some(Outline {
        globals,
        table,
        target: target?,
    })
}

/// Reads FROM lines.
struct FromReader<'a, 'b> {
    dockerfile: &'a Dockerfile,
    globals: &'b Globals,
    platform: &'b Platform,
    build: &'b mut Build,
}

impl<'a> FromReader<'a, '_> {
    fn stage(&mut self, table: &Table<'a>, index: usize) -> Result<Stage<'a>, Diagnostic> {
        let written = &self.dockerfile.stages[index];
        let span = written.from.span;
        let platform_word = written.platform.as_ref().filter(|word| !word.is_empty());
        let (platform, mut used) = match platform_word {
            Some(word) => self.stage_platform(word, index)?,
            None => (self.platform.clone(), BTreeSet::new()),
        };
        let base_text = written.base.as_str();
        let name = self.expand(&written.base, span)?;
        if name.text.is_empty() {
            let message = format!("base name ({base_text}) should not be blank");
            return Err(Diagnostic::error(Code::BlankBase, span, message));
        }
        let replacement = written
            .name
            .as_ref()
            .and_then(|name| table.replacement(name.as_str(), &platform));
        let replaced = replacement.is_some();
        let base = replacement
            .unwrap_or_else(|| table.base(&name.text, &platform))
            .map_err(|message| Diagnostic::error(Code::InvalidReference, span, message))?;
        used.extend(name.used);
        let mut stage = self.broken(index);
        stage.used = used;
        stage.steps = if replaced {
            0
        } else {
            self.steps(index, &base)
        };
        stage.base = base;
        stage.replaced = replaced;
        stage.platform = platform;
        Ok(stage)
    }

    /// The stage without anything that FROM says.
    fn broken(&self, index: usize) -> Stage<'a> {
        let written = &self.dockerfile.stages[index];
        let name = written.name.as_ref().map(|name| name.text.clone());
        Stage {
            label: name.clone().unwrap_or_else(|| format!("stage-{index}")),
            name,
            span: written.from.span,
            base: Base::Scratch,
            replaced: false,
            platform: self.platform.clone(),
            commands: Vec::new(),
            used: BTreeSet::new(),
            steps: 0,
            triggered: false,
        }
    }

    fn steps(&self, index: usize, base: &Base) -> usize {
        let counted = |kind: &InstructionKind| {
            matches!(
                kind,
                InstructionKind::Add(_)
                    | InstructionKind::Copy(_)
                    | InstructionKind::Run(_)
                    | InstructionKind::Workdir(_)
            )
        };
        let instructions = &self.dockerfile.stages[index].instructions;
        let own = instructions.iter().filter(|i| counted(&i.kind)).count();
        own + usize::from(!matches!(base, Base::Scratch | Base::Stage(_)))
    }

    /// The platform of a stage, and the variables that it comes from.
    fn stage_platform(
        &mut self,
        word: &Word,
        index: usize,
    ) -> Result<(Platform, BTreeSet<String>), Diagnostic> {
        let stage = &self.dockerfile.stages[index];
        let (text, span) = (word.as_str(), stage.from.span);
        let value = self.expand(word, span)?;
        let name = stage.name.as_ref().map_or("", |name| name.as_str());
        let globals = &self.globals.scope;
        if let Some(found) = lint::platform::check((word, &value), name, (span, globals)) {
            self.build.report(found);
        }
        let invalid = |message: String, value: &Expanded, globals: &Globals| {
            let near = value
                .unset
                .iter()
                .find_map(|name| nearest(name, globals.scope.names()));
            let hint = near.map_or(String::new(), |name| format!(" (did you mean {name}?)"));
            Diagnostic::error(Code::InvalidPlatform, span, format!("{message}{hint}"))
        };
        if value.text.is_empty() {
            let message = format!("empty platform value from expression {text}");
            return Err(invalid(message, &value, self.globals));
        }
        let platform = Platform::parse(&value.text).map_err(|error| {
            let reason = match error {
                rbuild_oci::Error::Platform { reason, .. } => reason,
                other => other.to_string(),
            };
            let message = format!("failed to parse platform {text}: {reason}");
            invalid(message, &value, self.globals)
        })?;
        Ok((platform, value.used))
    }

    /// Expands with the global scope, and warns of names that are no global argument.
    fn expand(&mut self, word: &Word, span: Span) -> Result<Expanded, Diagnostic> {
        let lexer = Lexer::plain(self.dockerfile.directives.escape);
        let done = expand(word.as_str(), lexer, &self.globals.scope);
        let unset = match &done {
            Ok(done) => done.unset.clone(),
            Err(_) => unset_names(word.as_str(), lexer, &self.globals.scope),
        };
        for name in &unset {
            if self.globals.declared.contains(name) {
                continue;
            }
            let known = self.globals.scope.names();
            let declared = self.globals.declared.iter().map(String::as_str);
            let message = with_suggestion(
                format!("FROM argument '{name}' is not declared"),
                name,
                known.chain(declared),
            );
            let warning = Diagnostic::warning(Code::UndefinedArgInFrom, span, message);
            let help = format!("Declare it before the first FROM: `ARG {name}`.");
            self.build
                .report(warning.pointing(Some(word.span)).with_help(help));
        }
        done.map_err(|error| expansion_error(span, &error))
    }
}

/// Warns of every FROM that the file's own defaults leave without a valid image name.
fn check_defaults(dockerfile: &Dockerfile, globals: &Globals, build: &mut Build) {
    let lexer = Lexer::plain(dockerfile.directives.escape);
    let Some(defaults) = &globals.defaults else {
        return;
    };
    for stage in &dockerfile.stages {
        let Ok(done) = expand(stage.base.as_str(), lexer, defaults) else {
            continue;
        };
        if rbuild_oci::Reference::parse(&done.text).is_err() {
            let message = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                stage.base.as_str()
            );
            let code = Code::InvalidDefaultArgInFrom;
            let warning = Diagnostic::warning(code, stage.from.span, message);
            build.report(
                warning
                    .pointing(Some(stage.base.span))
                    .with_help("Give the ARG a default that names an image."),
            );
        }
    }
}

/// Finds the stage that is wanted.
fn target(table: &Table<'_>, request: &LowerRequest, build: &mut Build) -> Option<usize> {
    let Some(name) = request.target.as_deref().filter(|name| !name.is_empty()) else {
        return table.stages.len().checked_sub(1);
    };
    let found = table.find(name);
    if found.is_none() {
        let names = table
            .stages
            .iter()
            .filter_map(|stage| stage.name.as_deref());
        let quoted = rbuild_dockerfile::quote::go_quote(name);
        let message = format!("target stage {quoted} could not be found");
        let message = with_suggestion(message, name, names);
        build.report(Diagnostic::error_nowhere(Code::UnknownTarget, message));
    }
    found
}

/// Gives every stage its commands with their sources.
fn link<'a>(dockerfile: &'a Dockerfile, table: &mut Table<'a>, build: &mut Build) {
    for (index, written) in dockerfile.stages.iter().enumerate() {
        if table.stages[index].replaced {
            continue;
        }
        for instruction in &written.instructions {
            let span = instruction.header.span;
            match table.command(Cow::Borrowed(instruction), span, Written::Here) {
                Ok(command) => table.stages[index].commands.push(command),
                Err(error) => build.report(error),
            }
        }
    }
}

/// Adds the ONBUILD triggers of all bases that are known, and asks for the images that are not.
///
/// A trigger may bring new sources, whose bases may have triggers; hence the loop.
pub(crate) fn answer(outline: &mut Outline<'_>, known: &Known, build: &mut Build) {
    loop {
        let reachable = outline.table.wanted(outline.target);
        let mut again = false;
        for &index in &reachable.stages {
            if let Some(texts) = triggers(&outline.table, index, known) {
                again |= !texts.is_empty();
                add_triggers(&mut outline.table, index, &texts, build);
            }
        }
        if again && !build.has_errors() {
            continue;
        }
        ask(&outline.table, outline.target, known, build);
        return;
    }
}

/// The triggers of a stage's base, once they are known and unless they were taken already.
fn triggers(table: &Table<'_>, index: usize, known: &Known) -> Option<Vec<String>> {
    let stage = &table.stages[index];
    if stage.triggered || stage.replaced {
        return None;
    }
    match &stage.base {
        Base::Scratch | Base::Local(_) | Base::Remote(..) => Some(Vec::new()),
        Base::Image(base) => image_triggers(base, known),
        Base::Stage(parent) => {
            let parent = &table.stages[*parent];
            match &parent.base {
                Base::Image(base) if parent.replaced => image_triggers(base, known),
                _ => Some(declared(&parent.commands)),
            }
        }
    }
}

fn image_triggers(base: &crate::stage::BaseQuestion, known: &Known) -> Option<Vec<String>> {
    let answer = known.images.get(&base.question)?;
    Some(answer.config.config.on_build.clone())
}

fn declared(commands: &[Command<'_>]) -> Vec<String> {
    let own = commands
        .iter()
        .filter(|command| command.written == Written::Here);
    own.filter_map(|command| match &command.instruction.kind {
        InstructionKind::Onbuild(onbuild) => Some(onbuild.expression.clone()),
        _ => None,
    })
    .collect()
}

fn add_triggers(table: &mut Table<'_>, index: usize, texts: &[String], build: &mut Build) {
    let span = table.stages[index].span;
    let mut commands = Vec::new();
    for text in texts {
        let parsed = trigger::parse(text, span).and_then(|instruction| {
            let owned = Cow::Owned(instruction);
            table
                .command(owned, span, Written::Trigger)
                .map_err(|error| vec![error])
        });
        match parsed {
            Ok(command) => commands.push(command),
            Err(errors) => errors.into_iter().for_each(|error| build.report(error)),
        }
    }
    let stage = &mut table.stages[index];
    stage.triggered = true;
    stage.steps += texts.len();
    stage.commands.splice(0..0, commands);
}

/// Asks for every image that the target needs and that is not known.
fn ask(table: &Table<'_>, target: usize, known: &Known, build: &mut Build) {
    let reachable = table.wanted(target);
    let stages = reachable.stages.iter().map(|&index| &table.stages[index]);
    let outside = reachable.outside.iter().map(|&index| &table.outside[index]);
    let bases = stages
        .map(|stage| (&stage.base, stage.span))
        .chain(outside.map(|outside| (&outside.base, outside.span)));
    for (base, span) in bases {
        if let Base::Image(base) = base
            && !known.images.contains_key(&base.question)
        {
            build.ask(&base.question, span);
        }
    }
}
