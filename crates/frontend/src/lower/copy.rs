//! COPY and ADD: one layer for each instruction, whatever the number of sources.

use rbuild_dockerfile::instruction::{AddInstruction, CopyInstruction, SourcesAndDest};
use rbuild_dockerfile::{InlineFile, Word};
use rbuild_graph::{
    Chmod, CopyAction, FileAction, FileOp, GitOp, HttpOp, Op, Owner, VertexIx, WriteAction,
};

use super::Outcome;
use super::chmod::parse_chmod;
use super::owner::parse_owner;
use super::remote;
use super::stage::{Files, Inputs, StageCx};
use crate::build::Tag;
use crate::remote::{Remote, file_checksum, file_op, shown};
use crate::stage::{Command, Source};
use crate::{Code, Diagnostic, lint, path};

/// Mode of a here-document that is no `--chmod` given.
const INLINE_MODE: u32 = 0o644;

/// What to write behind `--checksum` for a file.
const CHECKSUM_HELP: &str =
    "write sha256:, sha384: or sha512: and the hash of the file in lower-case hexadecimal digits";

/// COPY and ADD under one roof.
struct Transfer<'i> {
    keyword: &'static str,
    files: &'i SourcesAndDest,
    chown: Option<&'i Word>,
    chmod: Option<&'i Word>,
    excludes: &'i [Word],
    link: bool,
    parents: bool,
    /// Whether archives among paths are unpacked.
    unpack: bool,
    /// Whether archives that were fetched are unpacked.
    unpack_fetched: bool,
}

/// Where an instruction takes files from: neighbouring paths together, in the order as written.
enum Piece {
    Paths(Vec<String>),
    File(HttpOp),
    Git(GitOp),
}

/// The same with all variables expanded.
struct Expanded {
    sources: Vec<String>,
    contents: Vec<(String, String)>,
    dest: String,
    chown: String,
    chmod: String,
}

pub(super) fn copy(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    copy: &CopyInstruction,
) -> Outcome {
    let transfer = Transfer {
        keyword: "COPY",
        files: &copy.files,
        chown: copy.chown.as_ref(),
        chmod: copy.chmod.as_ref(),
        excludes: &copy.exclude,
        link: copy.link,
        parents: copy.parents,
        unpack: false,
        unpack_fetched: false,
    };
    let expanded = expand(stage, command, &transfer)?;
    let files = copied_files(stage, command, copy)?;
    if command.sources == [None] {
        lint::ignored::check(
            stage,
            command,
            ("Copy", &expanded.sources, &copy.files.sources),
        );
    }
    for source in &expanded.sources {
        let message = match Remote::parse(source) {
            Some(Ok(Remote::Git(_)) | Err(_)) => "source can't be a git ref for COPY",
            Some(Ok(Remote::Http(_))) => "source can't be a URL for COPY",
            None => continue,
        };
        return Err(Diagnostic::error(
            Code::InvalidSource,
            command.span,
            message,
        ));
    }
    let pieces = match expanded.sources.is_empty() {
        true => Vec::new(),
        false => vec![Piece::Paths(expanded.sources.clone())],
    };
    lower(stage, command, &transfer, (&expanded, pieces), files)
}

fn copied_files(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    copy: &CopyInstruction,
) -> Result<Option<Files>, Diagnostic> {
    let source = command.sources.first().copied().flatten();
    if copy.files.sources.is_empty() {
        return Ok(None);
    }
    stage.files(source, command).map(Some).map_err(|missing| {
        let from = match (source, &copy.from) {
            (Some(Source::Stage(_)), Some(from)) => from.text.clone(),
            _ => missing,
        };
        let message = format!(
            "cannot copy from stage {}, it needs to be defined before current stage {}",
            rbuild_dockerfile::quote::go_quote(&from),
            rbuild_dockerfile::quote::go_quote(&stage.stage.label),
        );
        Diagnostic::error(Code::StageOrder, command.span, message)
    })
}

pub(super) fn add(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    add: &AddInstruction,
) -> Outcome {
    let transfer = Transfer {
        keyword: "ADD",
        files: &add.files,
        chown: add.chown.as_ref(),
        chmod: add.chmod.as_ref(),
        excludes: &add.exclude,
        link: add.link,
        parents: false,
        unpack: add.unpack.unwrap_or(true),
        unpack_fetched: add.unpack.unwrap_or(false),
    };
    let expanded = expand(stage, command, &transfer)?;
    let invalid = |message: String| Diagnostic::error(Code::InvalidSource, command.span, message);
    let checksum = match &add.checksum {
        Some(word) => stage.expand(word, command)?,
        None => String::new(),
    };
    if !checksum.is_empty() && expanded.sources.len() != 1 {
        let message = "checksum can't be specified for multiple sources";
        return Err(invalid(message.to_owned()));
    }
    let pieces = pieces(&expanded.sources, add.keep_git_dir, &checksum, invalid)?;
    let has_paths = pieces.iter().any(|piece| matches!(piece, Piece::Paths(_)));
    if !checksum.is_empty() && has_paths {
        return Err(invalid(
            "checksum requires HTTP(S) or Git sources".to_owned(),
        ));
    }
    lint::ignored::check(
        stage,
        command,
        ("Add", &expanded.sources, &add.files.sources),
    );
    let files = match has_paths {
        true => stage.files(None, command).ok(),
        false => None,
    };
    lower(stage, command, &transfer, (&expanded, pieces), files)
}

/// Where one source of an ADD is.
pub(crate) enum OneSource {
    /// Behind a URL.
    File(HttpOp),
    /// In a git repository.
    Git(GitOp),
    /// In the build context.
    Path,
}

/// Finds out what a source is; the texts are expanded.
pub(crate) fn one_source(
    source: &str,
    keep_git_dir: Option<bool>,
    checksum: &str,
    command: &Command<'_>,
) -> Result<OneSource, Diagnostic> {
    let invalid = |message| Diagnostic::error(Code::InvalidSource, command.span, message);
    let pieces = pieces(&[source.to_owned()], keep_git_dir, checksum, invalid)?;
    Ok(match pieces.into_iter().next() {
        Some(Piece::File(op)) => OneSource::File(op),
        Some(Piece::Git(op)) => OneSource::Git(op),
        Some(Piece::Paths(_)) | None => OneSource::Path,
    })
}

/// Sorts the sources of an ADD by what they are.
fn pieces(
    sources: &[String],
    keep_git_dir: Option<bool>,
    checksum: &str,
    invalid: impl Fn(String) -> Diagnostic,
) -> Result<Vec<Piece>, Diagnostic> {
    let mut pieces = Vec::new();
    for source in sources {
        match Remote::parse(source).transpose().map_err(&invalid)? {
            Some(Remote::Git(git)) => {
                let op = git.into_op(keep_git_dir, checksum).map_err(&invalid)?;
                pieces.push(Piece::Git(op));
            }
            Some(Remote::Http(url)) => {
                let wanted = (!checksum.is_empty()).then(|| file_checksum(checksum));
                let wanted = wanted.transpose();
                let wanted = wanted.map_err(|message| invalid(message).with_help(CHECKSUM_HELP))?;
                pieces.push(Piece::File(file_op(&url, wanted)));
            }
            None => match pieces.last_mut() {
                Some(Piece::Paths(paths)) => paths.push(source.clone()),
                _ => pieces.push(Piece::Paths(vec![source.clone()])),
            },
        }
    }
    Ok(pieces)
}

fn expand(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    transfer: &Transfer<'_>,
) -> Result<Expanded, Diagnostic> {
    let mut option = |word: Option<&Word>| match word {
        Some(word) => stage.expand(word, command),
        None => Ok(String::new()),
    };
    let chown = option(transfer.chown)?;
    let chmod = option(transfer.chmod)?;
    let mut sources = Vec::with_capacity(transfer.files.sources.len());
    for word in &transfer.files.sources {
        sources.push(stage.expand(word, command)?);
    }
    let dest = stage.expand(&transfer.files.dest, command)?;
    let mut contents = Vec::with_capacity(transfer.files.contents.len());
    for file in &transfer.files.contents {
        contents.push((file.name.clone(), body(stage, command, file)?));
    }
    Ok(Expanded {
        sources,
        contents,
        dest,
        chown,
        chmod,
    })
}

fn body(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    file: &InlineFile,
) -> Result<String, Diagnostic> {
    if file.expand {
        stage.expand_body(&file.data, command)
    } else {
        Ok(file.data.clone())
    }
}

fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    transfer: &Transfer<'_>,
    (expanded, pieces): (&Expanded, Vec<Piece>),
    files: Option<Files>,
) -> Outcome {
    let chmod = parse_chmod(&expanded.chmod)
        .map_err(|message| Diagnostic::error(Code::InvalidChmod, command.span, message))?;
    let owner = parse_owner(&expanded.chown);
    lint::owner::check(stage, command, (owner.as_ref(), transfer.chown));
    if !transfer.parents {
        let files = expanded.sources.iter().map(String::as_str);
        let files: Vec<&str> = files
            .chain(expanded.contents.iter().map(|(name, _)| name.as_str()))
            .collect();
        let dest = (&files[..], expanded.dest.as_str(), &transfer.files.dest);
        lint::one_file::check(stage, command, dest);
    }
    let mut inputs = Inputs::default();
    let base = stage.root_input(&mut inputs);
    let mut actions = Vec::new();
    for piece in pieces {
        let Some((vertex, taken)) = taken(stage, command, transfer, piece, files) else {
            continue;
        };
        let input = inputs.position(vertex);
        let copy = copy_action(stage, transfer, expanded, (input, taken), (&owner, &chmod));
        actions.push(FileAction::Copy(copy));
    }
    for (name, data) in &expanded.contents {
        actions.push(FileAction::Write(WriteAction {
            path: name.clone(),
            dest: path::join(&stage.state.workdir(), &expanded.dest),
            dest_is_dir: path::names_directory(&expanded.dest),
            data: data.clone().into_bytes(),
            mode: INLINE_MODE,
            owner: owner.clone(),
            chmod: chmod.clone(),
        }));
    }
    let op = FileOp {
        base,
        // On an empty root the two ways come to the same, so they share their records.
        link: transfer.link && chmod.is_none() && base.is_some(),
        actions,
    };
    let name = stage.step_name(command);
    let tag = stage.tag(name, command);
    let vertex = stage.build.add(Op::File(op), inputs.into_list(), tag);
    if stage.ignores_cache() {
        stage.build.ignore_cache(vertex);
    }
    stage.state.commit(created_by(transfer, expanded), vertex);
    Ok(())
}

/// What is taken of an input.
struct Taken {
    sources: Vec<String>,
    unpack: bool,
    local: bool,
}

/// The vertex that a piece comes from, made if need be, and what is taken of it.
fn taken(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    transfer: &Transfer<'_>,
    piece: Piece,
    files: Option<Files>,
) -> Option<(VertexIx, Taken)> {
    let source = |text: &String| match transfer.parents {
        true => parents_source(text),
        false => path::absolute(text),
    };
    Some(match piece {
        Piece::Paths(paths) => {
            let files = files?;
            let taken = Taken {
                sources: paths.iter().map(source).collect(),
                unpack: transfer.unpack,
                local: files.local,
            };
            (files.vertex, taken)
        }
        Piece::File(op) => {
            let taken = Taken {
                sources: vec![remote::file_source(&op)],
                unpack: transfer.unpack_fetched,
                local: false,
            };
            (remote::file(op, command.span, stage.build), taken)
        }
        Piece::Git(op) => {
            let tag = Tag {
                name: shown(&op.remote),
                span: command.span,
                stage: None,
            };
            let taken = Taken {
                sources: vec!["/".to_owned()],
                unpack: false,
                local: false,
            };
            (stage.build.add(Op::Git(op), Vec::new(), tag), taken)
        }
    })
}

fn copy_action(
    stage: &StageCx<'_, '_>,
    transfer: &Transfer<'_>,
    expanded: &Expanded,
    (input, taken): (usize, Taken),
    (owner, chmod): (&Option<Owner>, &Option<Chmod>),
) -> CopyAction {
    CopyAction {
        input,
        sources: taken.sources,
        dest: path::join(&stage.state.workdir(), &expanded.dest),
        dest_is_dir: transfer.parents || path::names_directory(&expanded.dest),
        owner: owner.clone(),
        chmod: chmod.clone(),
        excludes: transfer
            .excludes
            .iter()
            .map(|word| word.text.clone())
            .collect(),
        parents: transfer.parents,
        unpack: taken.unpack,
        local: taken.local,
    }
}

/// Cleans both halves of a `--parents` source and keeps the pivot between them.
fn parents_source(text: &str) -> String {
    match text.split_once("/./") {
        Some((start, kept)) => {
            let start = path::absolute(start);
            let start = start.trim_end_matches('/');
            format!("{start}/.{}", path::absolute(kept))
        }
        None => path::absolute(text),
    }
}

/// The history text; sources and destination appear as written, variables expanded.
fn created_by(transfer: &Transfer<'_>, expanded: &Expanded) -> String {
    let mut text = transfer.keyword.to_owned();
    if transfer.parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [("chown", &expanded.chown), ("chmod", &expanded.chmod)] {
        if !value.is_empty() {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    for source in &expanded.sources {
        text.push_str(&format!(" {source}"));
    }
    for (name, _) in &expanded.contents {
        text.push_str(&format!(" <<{name}"));
    }
    format!("{text} {} # buildkit", expanded.dest)
}
