//! The stage table: what each stage is built on, what it takes files from, which stages the
//! target needs, and in what order they may be done.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::{Instruction, InstructionKind, Span};
use rbuild_oci::{Platform, Reference};

use crate::need::{ImagePlace, ImageQuestion};
use crate::{Code, Diagnostic, Extent, LowerRequest, NamedContext, RemoteTree, named};

/// All stages of one file for one target platform.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// The stages in file order.
    pub(crate) stages: Vec<Stage<'a>>,
    /// Images and contexts that are used by name without a stage of their own, each once.
    pub(crate) outside: Vec<Outside>,
    /// How many sources of RUN and COPY are no stage of the file; BuildKit makes a hidden stage for
    /// each, which shows in the names of steps.
    pub(crate) hidden: usize,
    request: &'a LowerRequest,
    target_platform: &'a Platform,
    by_name: BTreeMap<String, usize>,
    outside_by_name: BTreeMap<String, usize>,
}

/// One stage.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// The name after AS in lower case.
    pub(crate) name: Option<String>,
    /// What it is called in messages: its name, or `stage-<index>`.
    pub(crate) label: String,
    /// The FROM line.
    pub(crate) span: Span,
    /// What it is built on.
    pub(crate) base: Base,
    /// Whether a named context stands for the whole stage; then it has no commands.
    pub(crate) replaced: bool,
    /// The platform of its base and of its steps.
    pub(crate) platform: Platform,
    /// What it does: ONBUILD triggers first, once they are known.
    pub(crate) commands: Vec<Command<'a>>,
    /// The variables that its FROM line uses.
    pub(crate) used: BTreeSet<String>,
    /// Number of steps that its names count to.
    pub(crate) steps: usize,
    /// Whether the triggers of the base are in `commands` already.
    pub(crate) triggered: bool,
}

/// What a stage is built on, or what a name used as a source stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// Another stage, by its index.
    Stage(usize),
    /// An image.
    Image(Box<BaseQuestion>),
    /// A directory of the user's, by the name of its context.
    Local(String),
    /// Files from elsewhere, and the name of their context.
    Remote(String, Box<RemoteTree>),
}

/// An image that a base needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseQuestion {
    /// The question that it stands for.
    pub(crate) question: ImageQuestion,
    /// The named context that led to it.
    pub(crate) context: Option<String>,
}

/// An image or context that is used by name without a stage of its own.
#[derive(Debug)]
pub(crate) struct Outside {
    /// What it is.
    pub(crate) base: Base,
    /// The instruction that first uses it.
    pub(crate) span: Span,
}

/// An instruction of a stage, with the sources of its files.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    /// The instruction.
    pub(crate) instruction: Cow<'a, Instruction>,
    /// The place to blame: its own, or the FROM line for a trigger.
    pub(crate) span: Span,
    /// Where it comes from.
    pub(crate) written: Written,
    /// COPY: one entry; RUN: one for each mount. `None` is the build context.
    pub(crate) sources: Vec<Option<Source>>,
}

/// Where a command comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It stands in the stage.
    Here,
    /// The base declared it with ONBUILD.
    Trigger,
}

/// Where files are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// A stage, by index.
    Stage(usize),
    /// An entry of [`Table::outside`].
    Outside(usize),
}

/// What the target needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reachable {
    /// Stages, by index.
    pub(crate) stages: BTreeSet<usize>,
    /// Entries of [`Table::outside`].
    pub(crate) outside: BTreeSet<usize>,
}

impl<'a> Table<'a> {
    /// An empty table.
    pub(crate) fn new(request: &'a LowerRequest, target_platform: &'a Platform) -> Self {
        Self {
            stages: Vec::new(),
            outside: Vec::new(),
            hidden: 0,
            request,
            target_platform,
            by_name: BTreeMap::new(),
            outside_by_name: BTreeMap::new(),
        }
    }

    /// Says what `name` in a FROM line is, given the stages so far.
    ///
    /// Errors: `name` is neither a stage nor a possible image name.
    pub(crate) fn base(&self, name: &str, platform: &Platform) -> Result<Base, String> {
        match self.by_name.get(name) {
            Some(&stage) => Ok(Base::Stage(stage)),
            None => self.base_outside(name, platform),
        }
    }

    fn base_outside(&self, name: &str, platform: &Platform) -> Result<Base, String> {
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        if let Some((context, kind)) = named::find(self.request, name, platform) {
            return named_base(context, kind, platform);
        }
        image_base(name, platform)
    }

    /// The base that a named context puts in the place of a whole stage, if there is one.
    pub(crate) fn replacement(
        &self,
        name: &str,
        platform: &Platform,
    ) -> Option<Result<Base, String>> {
        let (context, kind) = named::find(self.request, name, platform)?;
        Some(named_base(context, kind, platform))
    }

    /// Appends a stage; from here on its name can be used in FROM.
    pub(crate) fn push(&mut self, stage: Stage<'a>) {
        if let Some(name) = &stage.name {
            self.by_name.insert(name.clone(), self.stages.len());
        }
        self.stages.push(stage);
    }

    /// The stage of a name, in any case; of several the last.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    /// Finds the sources of an instruction, and remembers those that are no stage.
    pub(crate) fn command(
        &mut self,
        instruction: Cow<'a, Instruction>,
        span: Span,
        written: Written,
    ) -> Result<Command<'a>, Diagnostic> {
        let sources = match &instruction.kind {
            InstructionKind::Copy(copy) => {
                let from = copy.from.as_ref().filter(|from| !from.is_empty());
                vec![match from {
                    Some(from) => Some(self.copy_source(from.as_str(), span)?),
                    None => None,
                }]
            }
            InstructionKind::Run(run) => {
                let names: Vec<_> = run.mounts.iter().map(|m| m.from.clone()).collect();
                let mut sources = Vec::with_capacity(names.len());
                for name in names {
                    sources.push(self.mount_source(name.as_deref(), span)?);
                }
                sources
            }
            _ => Vec::new(),
        };
        Ok(Command {
            instruction,
            span,
            written,
            sources,
        })
    }

    fn copy_source(&mut self, from: &str, span: Span) -> Result<Source, Diagnostic> {
        let Ok(index) = from.parse::<i64>() else {
            return self.source(from, span);
        };
        match usize::try_from(index) {
            Ok(index) if index < self.stages.len() => Ok(Source::Stage(index)),
            _ => {
                let message = format!("invalid stage index {index}");
                Err(Diagnostic::error(Code::InvalidStageIndex, span, message))
            }
        }
    }

    fn mount_source(
        &mut self,
        from: Option<&str>,
        span: Span,
    ) -> Result<Option<Source>, Diagnostic> {
        match from.filter(|from| !from.is_empty()) {
            Some(from) => self.source(from, span).map(Some),
            None => {
                self.hidden += usize::from(self.find("scratch").is_none());
                Ok(None)
            }
        }
    }

    fn source(&mut self, name: &str, span: Span) -> Result<Source, Diagnostic> {
        if let Some(stage) = self.find(name) {
            return Ok(Source::Stage(stage));
        }
        self.hidden += 1;
        if let Some(&known) = self.outside_by_name.get(name) {
            return Ok(Source::Outside(known));
        }
        let base = self
            .base_outside(name, self.target_platform)
            .map_err(|message| unknown_source(name, span, message))?;
        let index = self.outside.len();
        self.outside.push(Outside { base, span });
        self.outside_by_name.insert(name.to_owned(), index);
        Ok(Source::Outside(index))
    }

    /// The stages to lower, and what they take from outside: all of them, or what `target` needs.
    pub(crate) fn wanted(&self, target: usize) -> Reachable {
        match self.request.extent {
            Extent::Target => self.reachable(target),
            Extent::All => Reachable {
                stages: (0..self.stages.len()).collect(),
                outside: (0..self.outside.len()).collect(),
            },
        }
    }

    /// All that a stage needs, itself included.
    pub(crate) fn reachable(&self, target: usize) -> Reachable {
        let mut found = Reachable::default();
        let mut open = vec![target];
        while let Some(index) = open.pop() {
            if !found.stages.insert(index) {
                continue;
            }
            let stage = &self.stages[index];
            if let Base::Stage(base) = stage.base {
                open.push(base);
            }
            for source in stage
                .commands
                .iter()
                .flat_map(|c| c.sources.iter().flatten())
            {
                match source {
                    Source::Stage(index) => open.push(*index),
                    Source::Outside(index) => {
                        found.outside.insert(*index);
                    }
                }
            }
        }
        found
    }
}

/// A source that is no stage and cannot be an image; most often a variable, which is not expanded.
fn unknown_source(name: &str, span: Span, message: String) -> Diagnostic {
    if !name.contains('$') {
        return Diagnostic::error(Code::InvalidReference, span, message);
    }
    let message = "variable expansion is not supported for --from, \
                   define a new stage with FROM using ARG from global scope as a workaround";
    Diagnostic::error(Code::InvalidReference, span, message)
}

fn named_base(context: String, kind: &NamedContext, platform: &Platform) -> Result<Base, String> {
    let place = match kind {
        NamedContext::Local => return Ok(Base::Local(context)),
        NamedContext::Remote(tree) => return Ok(Base::Remote(context, Box::new(tree.clone()))),
        NamedContext::Image(reference) => ImagePlace::Reference(parse_reference(reference)?),
        NamedContext::Layout { dir, digest } => ImagePlace::Layout {
            dir: dir.clone(),
            digest: digest.clone(),
        },
        NamedContext::Address(address) => ImagePlace::Address(address.clone()),
    };
    Ok(Base::Image(Box::new(BaseQuestion {
        question: ImageQuestion {
            place,
            platform: platform.clone(),
        },
        context: Some(context),
    })))
}

fn image_base(name: &str, platform: &Platform) -> Result<Base, String> {
    Ok(Base::Image(Box::new(BaseQuestion {
        question: ImageQuestion {
            place: ImagePlace::Reference(parse_reference(name)?),
            platform: platform.clone(),
        },
        context: None,
    })))
}

/// Parses an image name; the error is BuildKit's text with the reason behind it.
fn parse_reference(name: &str) -> Result<Reference, String> {
    Reference::parse(name).map_err(|_| {
        let quoted = rbuild_dockerfile::quote::go_quote(name);
        let detail = match lower_case_detail(name) {
            Some(path) => format!(": repository name ({path}) must be lowercase"),
            None => String::new(),
        };
        format!("failed to parse stage name {quoted}: invalid reference format{detail}")
    })
}

/// The repository of a name whose only fault is its upper case.
fn lower_case_detail(name: &str) -> Option<String> {
    let lower = Reference::parse(&name.to_lowercase()).ok()?;
    // Lower-casing keeps lengths of ASCII names, so the repository lies where it lay before.
    let written = name.get(name.to_lowercase().find(lower.path().rsplit('/').next()?)?..)?;
    let last = written.split([':', '@']).next()?;
    let parent = lower.path().rsplit_once('/').map(|(parent, _)| parent);
    Some(match parent {
        Some(parent) => format!("{parent}/{last}"),
        None => last.to_owned(),
    })
}
