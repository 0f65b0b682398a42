//! `SOURCE_DATE_EPOCH`: the time that everything new gets.

use std::borrow::Cow;

use rbuild_dockerfile::instruction::{AddInstruction, ArgInstruction};
use rbuild_dockerfile::{Dockerfile, InstructionKind};

use crate::build::Build;
use crate::expand::{Lexer, expand};
use crate::lower::{OneSource, one_source, outline, platforms};
use crate::scope::{Globals, Scope, expansion_error};
use crate::stage::{Base, Command, Stage, Table};
use crate::{Code, Diagnostic, LowerRequest, NamedContext, RemoteTree};

const NAME: &str = "SOURCE_DATE_EPOCH";

/// What the text says.
enum Epoch {
    /// A time in seconds since 1970, or none.
    Time(Option<i64>),
    /// The time of what is there.
    Of(RemoteTree),
}

/// The source in the network whose time `SOURCE_DATE_EPOCH` names, for [`LowerRequest::named_epoch`].
///
/// That is a named context from elsewhere, or a stage that is nothing but one remote ADD. `None` where
/// another thing is named, a time is given, or something is wrong, which [`lower`](crate::lower) says.
pub fn epoch_source(dockerfile: &Dockerfile, request: &LowerRequest) -> Option<RemoteTree> {
    let text = request.build_args.get(NAME).map(String::as_str);
    // Most files have neither: nothing is worked out for them.
    let is_declared = || {
        let mut instructions = dockerfile.meta_args.iter();
        instructions.any(|found| match &found.kind {
            InstructionKind::Arg(arg) => arg.args.iter().any(|pair| pair.key.as_str() == NAME),
            _ => false,
        })
    };
    if text.is_none() && !is_declared() {
        return None;
    }
    let platform = platforms(request).into_iter().next()?;
    let found = outline(dockerfile, request, &platform, &mut Build::default())?;
    let escape = dockerfile.directives.escape;
    match resolve(request, (&found.globals, escape), &found.table) {
        Ok(Epoch::Of(tree)) => Some(tree),
        Ok(Epoch::Time(_)) | Err(_) => None,
    }
}

/// The time in seconds since 1970: from the build argument, else from the global ARG, else from
/// the request.
///
/// `context` stands for the time of the context; a directory has none, and neither has an image.
pub(crate) fn source_epoch(
    request: &LowerRequest,
    globals: (&Globals, char),
    table: &Table<'_>,
) -> Result<Option<i64>, Diagnostic> {
    match resolve(request, globals, table)? {
        Epoch::Time(time) => Ok(time),
        Epoch::Of(_) => Ok(request.named_epoch),
    }
}

/// The request as its stages see it: the argument holds the time, whatever it named.
pub(crate) fn settled<'r>(
    request: &'r LowerRequest,
    globals: &mut Globals,
    time: Option<i64>,
) -> Cow<'r, LowerRequest> {
    let text = time.map(|seconds| seconds.to_string()).unwrap_or_default();
    if globals.scope.get(NAME).is_some() {
        globals.scope.set(NAME, &text);
    }
    match request.build_args.get(NAME) {
        Some(given) if *given != text => {
            let mut own = request.clone();
            own.build_args.insert(NAME.to_owned(), text);
            Cow::Owned(own)
        }
        _ => Cow::Borrowed(request),
    }
}

fn resolve(
    request: &LowerRequest,
    (globals, escape): (&Globals, char),
    table: &Table<'_>,
) -> Result<Epoch, Diagnostic> {
    let argument = request.build_args.get(NAME).map(String::as_str);
    let Some(text) = argument.or_else(|| globals.scope.get(NAME)) else {
        return Ok(Epoch::Time(request.source_epoch));
    };
    if text.is_empty() {
        return Ok(Epoch::Time(None));
    }
    if let Ok(seconds) = text.parse() {
        return Ok(Epoch::Time(Some(seconds)));
    }
    if text == "context" {
        return Ok(Epoch::Time(request.context_epoch));
    }
    match (request.contexts.get(text), table.find(text)) {
        (Some(NamedContext::Remote(tree)), _) => Ok(Epoch::Of(tree.clone())),
        (Some(_), _) => Ok(Epoch::Time(None)),
        (None, Some(stage)) => {
            let reader = StageReader {
                request,
                lexer: Lexer::plain(escape),
                scope: globals.scope.without(NAME),
            };
            Ok(Epoch::Of(reader.source(&table.stages[stage])?))
        }
        (None, None) => {
            let message = format!("invalid {NAME}: {text}");
            Err(Diagnostic::error_nowhere(Code::InvalidEpoch, message))
        }
    }
}

/// Reads a stage that only says where something is.
struct StageReader<'a> {
    request: &'a LowerRequest,
    lexer: Lexer,
    scope: Scope,
}

impl StageReader<'_> {
    fn source(mut self, stage: &Stage<'_>) -> Result<RemoteTree, Diagnostic> {
        let wrong = |what: &str| {
            let message = format!("{NAME} stage {what}");
            Diagnostic::error(Code::InvalidEpoch, stage.span, message)
        };
        let not_one = || wrong("must contain exactly one remote ADD");
        if stage.base != Base::Scratch {
            return Err(wrong("must use FROM scratch"));
        }
        let mut found = None;
        for command in &stage.commands {
            match &command.instruction.kind {
                InstructionKind::Arg(arg) => self.declare(arg, command)?,
                InstructionKind::Add(_) if found.is_some() => return Err(not_one()),
                InstructionKind::Add(add) => found = Some(self.add(add, command)?),
                _ => {
                    let keyword = command.instruction.header.keyword.text.to_uppercase();
                    return Err(wrong(&format!(
                        "does not meet source-only requirements: unsupported {keyword} instruction"
                    )));
                }
            }
        }
        found.ok_or_else(not_one)
    }

    fn declare(&mut self, arg: &ArgInstruction, command: &Command<'_>) -> Result<(), Diagnostic> {
        for pair in &arg.args {
            let name = pair.key.as_str();
            let value = match (self.request.build_args.get(name), &pair.value) {
                (Some(given), _) => given.clone(),
                (None, Some(default)) => self.expand(default.as_str(), command)?,
                (None, None) => continue,
            };
            self.scope.set(name, &value);
        }
        Ok(())
    }

    fn add(&self, add: &AddInstruction, command: &Command<'_>) -> Result<RemoteTree, Diagnostic> {
        let wrong = |what: &str| {
            let message = format!("{NAME} stage {what}");
            Diagnostic::error(Code::InvalidEpoch, command.span, message)
        };
        let ([source], []) = (add.files.sources.as_slice(), add.files.contents.as_slice()) else {
            return Err(wrong("must contain exactly one remote ADD source"));
        };
        let source = self.expand(source.as_str(), command)?;
        let checksum = add.checksum.as_ref().map(|word| word.as_str());
        let checksum = self.expand(checksum.unwrap_or_default(), command)?;
        match one_source(&source, add.keep_git_dir, &checksum, command)? {
            OneSource::File(op) => Ok(RemoteTree::Archive(op)),
            OneSource::Git(op) => Ok(RemoteTree::Git(op)),
            OneSource::Path => Err(wrong("source must be a single HTTP(S) or Git ADD")),
        }
    }

    fn expand(&self, text: &str, command: &Command<'_>) -> Result<String, Diagnostic> {
        match expand(text, self.lexer, &self.scope) {
            Ok(done) => Ok(done.text),
            Err(error) => Err(expansion_error(command.span, &error)),
        }
    }
}
