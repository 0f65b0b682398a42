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

/// Largest ignore file that is read.
const MAX_IGNORE_BYTES: u64 = 4 << 20;

/// The Dockerfile as it was found.
pub(crate) struct DockerfileText {
    /// What messages call it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Where it lies, if it is a file.
    pub path: Option<PathBuf>,
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
            return Ok(DockerfileText {
                name: "Dockerfile".to_owned(),
                text: text(bytes),
                path: None,
            });
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
    Ok(DockerfileText {
        name,
        text: text(&bytes),
        path: Some(path),
    })
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
            return Ok(DockerfileText {
                name: shown_name(Path::new(name)),
                text: text(&bytes),
                path: None,
            });
        }
    }
    let first = names.first().copied().unwrap_or("Dockerfile");
    Err(BuildError::no_dockerfile(Path::new(first)))
}

fn text(bytes: &[u8]) -> String {
    rbuild_dockerfile::decode(bytes).into_owned()
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
    if let Some(path) = &dockerfile.path {
        let mut own = path.clone().into_os_string();
        own.push(".dockerignore");
        let own = PathBuf::from(own);
        if let Some(found) = ignore_file(&own)? {
            return Ok(found);
        }
    }
    match &request.context {
        ContextInput::Directory(dir) => ignore_in(dir),
        _ => Ok(nothing()),
    }
}

/// What the main context leaves out, for warnings; a file that cannot be read is reported when the
/// context is.
pub(crate) fn ignored(request: &BuildRequest, dockerfile: &DockerfileText) -> Option<IgnoreSet> {
    let set = ignore_of(request, dockerfile).ok()?.set;
    (!set.is_empty()).then_some(set)
}

/// The ignore rules of a directory.
pub(crate) fn ignore_in(dir: &Path) -> Result<Ignore> {
    Ok(ignore_file(&dir.join(".dockerignore"))?.unwrap_or_else(nothing))
}

fn nothing() -> Ignore {
    Ignore {
        set: IgnoreSet::default(),
        name: ".dockerignore".to_owned(),
    }
}

fn ignore_file(path: &Path) -> Result<Option<Ignore>> {
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
    Ok(Some(Ignore {
        set,
        name: shown_name(path),
    }))
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
