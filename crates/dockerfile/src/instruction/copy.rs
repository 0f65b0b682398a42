//! COPY and ADD.

use crate::ast::InlineFile;
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
