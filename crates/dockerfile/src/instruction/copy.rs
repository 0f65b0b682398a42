//! COPY and ADD.

use super::Request;
use crate::ast::InlineFile;
use crate::diagnostic::{Code, Fault};
use crate::flag::{FlagKind, FlagSpec};
use crate::heredoc;
use crate::word::Word;

/// What COPY and ADD have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcesAndDest {
    /// The paths (for ADD also URLs), unexpanded.
    pub sources: Vec<Word>,
    /// The destination, unexpanded.
    pub dest: Word,
    /// The heredoc sources, tabs of `<<-` removed, bodies unexpanded.
    pub contents: Vec<InlineFile>,
}

/// COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyInstruction {
    /// Sources and destination.
    pub files: SourcesAndDest,
    /// `--from`, never expanded.
    pub from: Option<Word>,
    /// `--chown`, unexpanded.
    pub chown: Option<Word>,
    /// `--chmod`, unexpanded.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, taken literally.
    pub exclude: Vec<Word>,
}

/// ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddInstruction {
    /// Sources and destination.
    pub files: SourcesAndDest,
    /// `--chown`, unexpanded.
    pub chown: Option<Word>,
    /// `--chmod`, unexpanded.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--keep-git-dir`; `None` when not given.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`, unexpanded.
    pub checksum: Option<Word>,
    /// `--unpack`; `None` when not given: local archives are unpacked, downloads are not.
    pub unpack: Option<bool>,
    /// `--exclude`, taken literally.
    pub exclude: Vec<Word>,
}

const COPY_FLAGS: &[FlagSpec] = &[
    ("chown", FlagKind::Text),
    ("from", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("link", FlagKind::Bool),
    ("parents", FlagKind::Bool),
    ("exclude", FlagKind::List),
];

const ADD_FLAGS: &[FlagSpec] = &[
    ("chown", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("link", FlagKind::Bool),
    ("keep-git-dir", FlagKind::Bool),
    ("checksum", FlagKind::Text),
    ("unpack", FlagKind::Bool),
    ("exclude", FlagKind::List),
];

/// Reads COPY.
///
/// Grammar: dockerfile.ebnf#copy
pub(super) fn copy(request: &mut Request) -> Result<CopyInstruction, Fault> {
    let words = two_words(request)?;
    let flags = request.flags(COPY_FLAGS)?;
    Ok(CopyInstruction {
        files: sources_and_dest(request, words)?,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.list("exclude"),
    })
}

/// Reads ADD.
///
/// Grammar: dockerfile.ebnf#add
pub(super) fn add(request: &mut Request) -> Result<AddInstruction, Fault> {
    let words = two_words(request)?;
    let flags = request.flags(ADD_FLAGS)?;
    Ok(AddInstruction {
        files: sources_and_dest(request, words)?,
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link").unwrap_or(false),
        keep_git_dir: flags.switch("keep-git-dir"),
        checksum: flags.text("checksum"),
        unpack: flags.switch("unpack"),
        exclude: flags.list("exclude"),
    })
}

/// Takes the arguments, which must be a source and a destination at least.
fn two_words(request: &mut Request) -> Result<Vec<Word>, Fault> {
    let words = request.take_words();
    if words.len() >= 2 {
        return Ok(words);
    }
    let name = request.keyword.as_str();
    let message = format!(
        "{name} requires at least two arguments, but only one was provided. Destination could \
         not be determined"
    );
    let fault = request.fault(Code::ArgumentCount, message);
    Err(fault.help(format!("Write `{name} SOURCE... DESTINATION`.")))
}

/// Sorts the arguments into paths, here-documents and destination.
fn sources_and_dest(request: &mut Request, mut words: Vec<Word>) -> Result<SourcesAndDest, Fault> {
    let dest = words.pop().unwrap_or_default();
    let is_heredoc = |word: &Word| heredoc::mark(&word.text).ok().flatten();
    if is_heredoc(&dest).is_some() {
        let name = request.keyword.as_str();
        let message = format!("{name} cannot accept a heredoc as a destination");
        return Err(Fault::new(Code::MisplacedHeredoc, message, dest.span));
    }
    let bodies = std::mem::take(&mut request.heredocs);
    let (mut sources, mut contents) = (Vec::new(), Vec::new());
    for word in words {
        let Some(mark) = is_heredoc(&word) else {
            sources.push(word);
            continue;
        };
        // Of several with one name the last body counts for all, as in BuildKit.
        let body = bodies.iter().rfind(|body| body.name == mark.name);
        let data = body.map_or("", |body| &body.data);
        contents.push(InlineFile {
            data: match mark.chomp {
                true => heredoc::chomp(data),
                false => data.to_owned(),
            },
            name: mark.name,
            expand: mark.expand,
            chomp: mark.chomp,
            descriptor: mark.descriptor,
            span: body.map_or(word.span, |body| body.span),
        });
    }
    Ok(SourcesAndDest {
        sources,
        dest,
        contents,
    })
}
