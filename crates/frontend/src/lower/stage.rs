//! What the lowering of one stage has at hand: the state, names of steps, sources, expansion.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::instruction::mount::{Mount, MountError, MountFlag};
use rbuild_dockerfile::{Dockerfile, Span, Word};
use rbuild_graph::VertexIx;
use rbuild_oci::Platform;

use super::outline::Outline;
use super::remote;
use crate::build::{Build, Tag};
use crate::expand::{Expanded, Lexer, expand, unset_names};
use crate::scope::{NON_ENV_ARGS, Scope, expansion_error};
use crate::stage::{Command, Source, Stage, Written};
use crate::state::{Root, StageState};
use crate::step_name::{StepNames, instruction_text};
use crate::suggest::nearest;
use crate::{Code, Diagnostic, Known, LowerRequest, NoCache, lint};

/// What stays the same while one platform is lowered.
pub(crate) struct Round<'a> {
    /// The file.
    pub(crate) dockerfile: &'a Dockerfile,
    /// What is asked.
    pub(crate) request: &'a LowerRequest,
    /// All images that the target needs.
    pub(crate) known: &'a Known,
    /// Stages and global arguments.
    pub(crate) outline: &'a Outline<'a>,
    /// The platform to build for.
    pub(crate) platform: &'a Platform,
    /// Time of everything new.
    pub(crate) source_epoch: Option<i64>,
}

/// Stages that are lowered already, and what is used without a stage.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// By index.
    pub(crate) stages: BTreeMap<usize, StageState>,
    /// By index.
    pub(crate) outside: BTreeMap<usize, Root>,
}

/// The lowering of one stage.
pub(crate) struct StageCx<'a, 'b> {
    /// What stays the same.
    pub(crate) round: &'a Round<'a>,
    /// The stages before it.
    pub(crate) done: &'a Done,
    /// What is collected.
    pub(crate) build: &'b mut Build,
    /// The stage as the table has it.
    pub(crate) stage: &'a Stage<'a>,
    /// What has become of it so far.
    pub(crate) state: StageState,
    /// Counts its steps.
    pub(crate) names: StepNames,
    /// The instructions of which only the last counts.
    pub(crate) last: LastOf,
}

/// Where instructions were last seen of which only the last counts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LastOf {
    /// CMD.
    pub(crate) cmd: Option<Span>,
    /// ENTRYPOINT.
    pub(crate) entrypoint: Option<Span>,
    /// HEALTHCHECK.
    pub(crate) healthcheck: Option<Span>,
}

/// Files to copy from or to mount.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files {
    /// Whose.
    pub(crate) vertex: VertexIx,
    /// Whether they are a directory of the user's.
    pub(crate) local: bool,
}

/// The inputs of a vertex under construction, each once.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    list: Vec<VertexIx>,
}

impl Inputs {
    /// The position of an input; it is appended when it is new.
    pub(crate) fn position(&mut self, vertex: VertexIx) -> usize {
        let known = self.list.iter().position(|&input| input == vertex);
        known.unwrap_or_else(|| {
            self.list.push(vertex);
            self.list.len() - 1
        })
    }

    /// The list.
    pub(crate) fn into_list(self) -> Vec<VertexIx> {
        self.list
    }
}

impl StageCx<'_, '_> {
    /// The state that is left to the stages that build on this one.
    pub(crate) fn finish(self) -> StageState {
        self.state
    }

    /// Whether RUN, COPY and ADD of this stage must not be taken from the cache.
    pub(crate) fn ignores_cache(&self) -> bool {
        match &self.round.request.no_cache {
            NoCache::Nothing => false,
            NoCache::All => true,
            NoCache::Stages(names) => names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&self.stage.label)),
        }
    }

    fn escape(&self) -> char {
        self.round.dockerfile.directives.escape
    }

    /// The place of a word of an instruction; the words of a trigger are not in this file.
    pub(crate) fn mark(&self, command: &Command<'_>, word: &Word) -> Option<Span> {
        (command.written == Written::Here).then_some(word.span)
    }

    /// Warns of an instruction; `word` is the part to point at, and `help` says what to do.
    pub(crate) fn warn(
        &mut self,
        command: &Command<'_>,
        (code, message): (Code, String),
        (word, help): (Option<&Word>, &str),
    ) {
        let mark = word.and_then(|word| self.mark(command, word));
        let warning = Diagnostic::warning(code, command.span, message).pointing(mark);
        self.build.report(warning.with_help(help));
    }

    /// Expands a word with what the stage has set so far.
    pub(crate) fn expand(
        &mut self,
        word: &Word,
        command: &Command<'_>,
    ) -> Result<String, Diagnostic> {
        Ok(self.expand_word(word, command)?.text)
    }

    /// As [`Self::expand`], split at blanks that came out of variables.
    pub(crate) fn expand_words(
        &mut self,
        word: &Word,
        command: &Command<'_>,
    ) -> Result<Vec<String>, Diagnostic> {
        let lexer = Lexer::plain(self.escape());
        // Of variables without a value BuildKit says nothing here.
        let done = expand(word.as_str(), lexer, &self.state.scope)
            .map_err(|error| expansion_error(command.span, &error))?;
        Ok(done.words)
    }

    /// Expands the body of a here-document.
    pub(crate) fn expand_body(
        &mut self,
        body: &str,
        command: &Command<'_>,
    ) -> Result<String, Diagnostic> {
        Ok(self.expand_text(body, Lexer::body(), (command, None))?.text)
    }

    /// Reads the options of a mount, each value expanded.
    pub(crate) fn expand_mount(
        &mut self,
        flag: &MountFlag,
        command: &Command<'_>,
    ) -> Result<Mount, Diagnostic> {
        let lexer = Lexer::plain(self.escape());
        let mut met = Vec::new();
        let parsed = Mount::parse(flag.raw.as_str(), &mut |value| {
            let done = expand(value, lexer, &self.state.scope)?;
            met.push(done.clone());
            Ok(done.text)
        });
        for done in &met {
            self.warn_of_unset(&done.unset, command, None);
        }
        parsed.map_err(|error| {
            let code = match error {
                MountError::Expand(_) => Code::Expansion,
                _ => Code::InvalidMount,
            };
            Diagnostic::error(code, command.span, error.to_string())
        })
    }

    fn expand_word(&mut self, word: &Word, command: &Command<'_>) -> Result<Expanded, Diagnostic> {
        let lexer = Lexer::plain(self.escape());
        self.expand_text(word.as_str(), lexer, (command, Some(word)))
    }

    fn expand_text(
        &mut self,
        text: &str,
        lexer: Lexer,
        (command, word): (&Command<'_>, Option<&Word>),
    ) -> Result<Expanded, Diagnostic> {
        match expand(text, lexer, &self.state.scope) {
            Ok(done) => {
                self.warn_of_unset(&done.unset, command, word);
                Ok(done)
            }
            Err(error) => {
                let met = unset_names(text, lexer, &self.state.scope);
                self.warn_of_unset(&met, command, word);
                Err(expansion_error(command.span, &error))
            }
        }
    }

    fn warn_of_unset(
        &mut self,
        unset: &BTreeSet<String>,
        command: &Command<'_>,
        word: Option<&Word>,
    ) {
        for name in unset {
            let declared = self.state.args.iter().any(|arg| arg.name == *name);
            if declared || NON_ENV_ARGS.contains(&name.as_str()) {
                continue;
            }
            let hint = nearest(name, self.state.scope.names())
                .map_or(String::new(), |near| format!(" (did you mean ${near}?)"));
            let message = format!("Usage of undefined variable '${name}'{hint}");
            let help = lint::unset::help(name, &self.round.outline.globals);
            self.warn(command, (Code::UndefinedVar, message), (word, &help));
        }
    }

    /// The name of the next step, from the instruction as it was written.
    pub(crate) fn step_name(&mut self, command: &Command<'_>) -> String {
        let code = command.instruction.header.code();
        let text = instruction_text(code, Lexer::plain(self.escape()), &self.state.scope);
        self.name_step(command, text)
    }

    /// The name of the next step from a text for the shell, with the values of `scope`.
    pub(crate) fn shell_step_name(
        &mut self,
        command: &Command<'_>,
        code: &str,
        scope: &Scope,
    ) -> String {
        let text = instruction_text(code, Lexer::shell_text(self.escape()), scope);
        self.name_step(command, text)
    }

    fn name_step(&mut self, command: &Command<'_>, mut text: String) -> String {
        if command.written == Written::Trigger {
            text.insert_str(0, "ONBUILD ");
        }
        self.names
            .next(&text, &self.state.platform, &self.state.scope)
    }

    /// The tag of a vertex of this stage.
    pub(crate) fn tag(&self, name: String, command: &Command<'_>) -> Tag {
        Tag {
            name,
            span: command.span,
            stage: Some(self.stage.label.clone()),
        }
    }

    /// The position of the stage's own files among `inputs`; `None` when it has none.
    pub(crate) fn root_input(&self, inputs: &mut Inputs) -> Option<usize> {
        match self.state.root {
            Root::Empty => None,
            Root::Layers(vertex) | Root::Directory(vertex) => Some(inputs.position(vertex)),
        }
    }

    /// The files of a source; without one, the build context.
    ///
    /// `Err` holds the label of a stage that is not done before this one.
    pub(crate) fn files(
        &mut self,
        source: Option<Source>,
        command: &Command<'_>,
    ) -> Result<Files, String> {
        let root = match source {
            None => self.context(command.span),
            Some(Source::Outside(index)) => self
                .done
                .outside
                .get(&index)
                .copied()
                .unwrap_or(Root::Empty),
            Some(Source::Stage(index)) => match self.done.stages.get(&index) {
                Some(state) => state.root,
                None => return Err(self.round.outline.table.stages[index].label.clone()),
            },
        };
        Ok(match root {
            Root::Empty => Files {
                vertex: self.build.add_empty(command.span),
                local: false,
            },
            Root::Layers(vertex) => Files {
                vertex,
                local: false,
            },
            Root::Directory(vertex) => Files {
                vertex,
                local: true,
            },
        })
    }

    fn context(&mut self, span: Span) -> Root {
        if let Some(tree) = &self.round.request.context {
            let label = ("internal", span);
            return Root::Layers(remote::tree(tree, label, self.build));
        }
        let tag = Tag {
            name: "[internal] load build context".to_owned(),
            span,
            stage: None,
        };
        Root::Directory(self.build.add_local("context", tag))
    }

    /// Warns when an earlier instruction is made useless by this one, and remembers this one.
    pub(crate) fn only_last(
        &mut self,
        command: &Command<'_>,
        pick: fn(&mut LastOf) -> &mut Option<Span>,
    ) {
        let keyword = command.instruction.header.keyword.as_str();
        if let Some(earlier) = pick(&mut self.last).replace(command.span) {
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage \
                 because only the last one will be used"
            );
            let code = Code::MultipleInstructionsDisallowed;
            let help = "Take this one out: a later one in the stage replaces it.";
            let warning = Diagnostic::warning(code, earlier, message);
            self.build.report(warning.with_help(help));
        }
    }
}
