//! What a build begins with: the Dockerfile's text, the ignore rules, the context.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rbuild_dockerfile::source::MAX_FILE_BYTES;
use rbuild_pattern::IgnoreSet;
use rbuild_progress::CancelToken;
use rbuild_source::Ignore;

use crate::elsewhere::Elsewhere;
use crate::engine::Engine;
use crate::{BuildError, BuildRequest, ContextInput, DockerfileInput, NamedContextInput, Result};

/// Name of the ignore file at the root of a context.
const IGNORE_FILE: &str = ".dockerignore";
/// Largest ignore file that is read.
const MAX_IGNORE_BYTES: u64 = 4 << 20;

/// The Dockerfile as it was found.
pub(crate) struct DockerfileText {
    /// What messages call it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// How many bytes were read.
    pub size_bytes: u64,
    /// Where it lies, if it is a file.
    pub path: Option<PathBuf>,
    /// Its path in a context that is no directory of this machine, if it came from there.
    pub inside: Option<String>,
}

impl DockerfileText {
    fn new(name: impl Into<String>, bytes: &[u8], path: Option<PathBuf>) -> Self {
        Self {
            name: name.into(),
            text: rbuild_dockerfile::decode(bytes).into_owned(),
            size_bytes: bytes.len() as u64,
            path,
            inside: None,
        }
    }
}

/// Refuses contexts that are no directories, whether or not the build comes to need them.
pub(crate) fn check_contexts(request: &BuildRequest) -> Result<()> {
    for (name, input) in &request.contexts {
        match input {
            NamedContextInput::Directory(dir) if !dir.is_dir() => {
                return Err(BuildError::no_named_context(name, dir));
            }
            _ => {}
        }
    }
    match &request.context {
        ContextInput::Directory(dir) if !dir.is_dir() => Err(BuildError::no_context(dir)),
        _ => Ok(()),
    }
}

/// Reads the Dockerfile that a request means.
pub(crate) fn dockerfile(request: &BuildRequest) -> Result<DockerfileText> {
    let (path, name) = match &request.dockerfile {
        DockerfileInput::Text(bytes) => {
            return Ok(DockerfileText::new("Dockerfile", bytes, None));
        }
        DockerfileInput::File(path) => (path.clone(), shown_name(path)),
        DockerfileInput::Default => match &request.context {
            ContextInput::Directory(dir) => default_in(dir),
            _ => return Err(BuildError::no_dockerfile(Path::new("Dockerfile"))),
        },
    };
    let bytes = read_regular(&path, MAX_FILE_BYTES as u64).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => BuildError::no_dockerfile(&path),
        _ => BuildError::read("read the Dockerfile", &path, e),
    })?;
    Ok(DockerfileText::new(name, &bytes, Some(path)))
}

/// Reads the Dockerfile of a context that is no local directory.
///
/// A path without a leading slash is one in the context; any other is this machine's.
pub(crate) fn dockerfile_elsewhere(
    request: &BuildRequest,
    context: &Elsewhere,
    (engine, cancel): (&Engine, &CancelToken),
) -> Result<DockerfileText> {
    let names: Vec<&str> = match &request.dockerfile {
        DockerfileInput::File(path) if path.is_relative() => match path.to_str() {
            Some(name) => vec![name],
            None => return Err(BuildError::no_dockerfile(path)),
        },
        DockerfileInput::Text(_) | DockerfileInput::File(_) => return dockerfile(request),
        DockerfileInput::Default => context.dockerfile_names().to_vec(),
    };
    for name in &names {
        let limit = MAX_FILE_BYTES as u64;
        if let Some(bytes) = context.read(engine, name, (limit, cancel))? {
            let shown = shown_name(Path::new(name));
            return Ok(DockerfileText {
                inside: Some((*name).to_owned()),
                ..DockerfileText::new(shown, &bytes, None)
            });
        }
    }
    let first = names.first().copied().unwrap_or("Dockerfile");
    Err(BuildError::no_dockerfile(Path::new(first)))
}

/// What messages call the Dockerfile of a request before it is found.
pub(crate) fn dockerfile_name(request: &BuildRequest) -> String {
    match &request.dockerfile {
        DockerfileInput::File(path) => shown_name(path),
        DockerfileInput::Text(_) | DockerfileInput::Default => "Dockerfile".to_owned(),
    }
}

fn shown_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| "Dockerfile".into(), |name| name.to_string_lossy())
        .into_owned()
}

/// `Dockerfile`, or `dockerfile` where only that exists.
fn default_in(dir: &Path) -> (PathBuf, String) {
    let usual = dir.join("Dockerfile");
    let lower = dir.join("dockerfile");
    if !usual.exists() && lower.exists() {
        return (lower, "dockerfile".to_owned());
    }
    (usual, "Dockerfile".to_owned())
}

/// The ignore rules of the main context: those of the Dockerfile's own file, else of the root's.
pub(crate) fn ignore_of(request: &BuildRequest, dockerfile: &DockerfileText) -> Result<Ignore> {
    let found = found_ignore(request, dockerfile)?;
    Ok(found.map_or_else(nothing, |(ignore, _)| ignore))
}

/// The same with the size of the file; `None` where there is none.
fn found_ignore(
    request: &BuildRequest,
    dockerfile: &DockerfileText,
) -> Result<Option<(Ignore, u64)>> {
    if let Some(path) = &dockerfile.path {
        let mut own = path.clone().into_os_string();
        own.push(".dockerignore");
        let own = PathBuf::from(own);
        if let Some(found) = ignore_file(&own)? {
            return Ok(Some(found));
        }
    }
    match &request.context {
        ContextInput::Directory(dir) => ignore_file(&dir.join(IGNORE_FILE)),
        _ => Ok(None),
    }
}

/// What the main context leaves out, for warnings, and the size of the file that says so; a file that
/// cannot be read is reported when the context is.
pub(crate) fn ignored(
    request: &BuildRequest,
    dockerfile: &DockerfileText,
) -> Option<(IgnoreSet, u64)> {
    let (ignore, size_bytes) = found_ignore(request, dockerfile).ok()??;
    Some((ignore.set, size_bytes))
}

/// The ignore rules of a directory.
pub(crate) fn ignore_in(dir: &Path) -> Result<Ignore> {
    let found = ignore_file(&dir.join(IGNORE_FILE))?;
    Ok(found.map_or_else(nothing, |(ignore, _)| ignore))
}

fn nothing() -> Ignore {
    Ignore {
        set: IgnoreSet::default(),
        name: IGNORE_FILE.to_owned(),
    }
}

fn ignore_file(path: &Path) -> Result<Option<(Ignore, u64)>> {
    let bytes = match read_regular(path, MAX_IGNORE_BYTES) {
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        other => other.map_err(|e| BuildError::read("read the ignore file", path, e))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let set = IgnoreSet::parse(&text).map_err(|e| BuildError::ignore(path, &text, e))?;
    let name = shown_name(path);
    Ok(Some((Ignore { set, name }, bytes.len() as u64)))
}

/// Reads a whole file that must be a regular one of at most `limit` bytes.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let meta = fs::metadata(path)?;
    if meta.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory, not a file",
        ));
    }
    // A pipe is what process substitution gives; it has no size and cannot stall forever unread.
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}
