//! What is executed: environment, the search along `PATH`, and the words of failure.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rbuild_sys::process::exec;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::failure::During;
use crate::wire::Failure;

const STAGE: &str = "prepare program";

/// `PATH` of a step whose environment has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that could not be started: a line for standard error, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotStarted {
    /// What Docker's runtime says.
    pub(crate) message: String,
    /// What it exits with.
    pub(crate) code: i32,
}

/// Returns the environment: later pairs replace earlier ones in place, `PATH` and `HOME` are filled in.
pub(crate) fn environment(pairs: &[(String, String)], home: &str) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs {
        match env.iter_mut().find(|(have, _)| have == name) {
            Some(pair) => pair.1.clone_from(value),
            None => env.push((name.clone(), value.clone())),
        }
    }
    if !env.iter().any(|(name, _)| name == "PATH") {
        env.insert(0, ("PATH".into(), DEFAULT_PATH.into()));
    }
    match env.iter_mut().find(|(name, _)| name == "HOME") {
        Some((_, value)) if value.is_empty() => home.clone_into(value),
        Some(_) => {}
        None => env.push(("HOME".into(), home.into())),
    }
    env
}

/// Arguments and environment in the form that exec takes.
pub(crate) struct Prepared {
    args: Vec<CString>,
    env: Vec<CString>,
    program: String,
    path: String,
}

impl Prepared {
    /// Checks and converts arguments and environment.
    pub(crate) fn new(args: &[String], env: &[(String, String)]) -> Result<Self, Failure> {
        let program = args
            .first()
            .cloned()
            .ok_or("no program")
            .during(STAGE, "arguments")?;
        let path = env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.clone())
            .unwrap_or_default();
        let args = args
            .iter()
            .map(|arg| CString::new(arg.as_str()).during(STAGE, format!("argument {arg:?}")))
            .collect::<Result<_, _>>()?;
        let env = env
            .iter()
            .map(|(name, value)| {
                CString::new(format!("{name}={value}"))
                    .during(STAGE, format!("environment variable {name:?}"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            args,
            env,
            program,
            path,
        })
    }

    /// Searches the program and executes it; returns only on failure.
    pub(crate) fn start(&self) -> NotStarted {
        let found = match search(&self.program, &self.path) {
            Ok(found) => found,
            Err(reason) => {
                return NotStarted {
                    message: format!("exec: {:?}: {reason}", self.program),
                    code: 1,
                };
            }
        };
        let Ok(path) = CString::new(found.as_os_str().as_bytes()) else {
            return NotStarted {
                message: format!("exec: {:?}: {}", self.program, words(Errno::INVAL)),
                code: 1,
            };
        };
        let errno = exec(&path, &self.args, &self.env);
        NotStarted {
            message: format!("exec {}: {}", found.display(), words(errno)),
            code: 255,
        }
    }
}

/// Finds a program as Go's `exec.LookPath` does, with its words for what is wrong.
fn search(program: &str, path: &str) -> Result<PathBuf, String> {
    if program.contains('/') {
        return match executable(Path::new(program)) {
            Ok(()) => Ok(program.into()),
            Err(errno @ (Errno::NOENT | Errno::NOTDIR)) => {
                Err(format!("stat {program}: {}", words(errno)))
            }
            Err(errno) => Err(words(errno)),
        };
    }
    let not_found = || "executable file not found in $PATH".to_owned();
    if program.is_empty() {
        return Err(not_found());
    }
    path.split(':')
        .map(|directory| match directory {
            "" => Path::new(".").join(program),
            directory => Path::new(directory).join(program),
        })
        .find(|candidate| executable(candidate).is_ok())
        .ok_or_else(not_found)
}

/// Tells whether a file may be executed by the calling user.
fn executable(path: &Path) -> Result<(), Errno> {
    let meta =
        fs::metadata(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if meta.is_dir() {
        return Err(Errno::ISDIR);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Says an error in Go's words, as users know them from Docker.
fn words(errno: Errno) -> String {
    match errno {
        Errno::NOENT => "no such file or directory".into(),
        Errno::ACCESS => "permission denied".into(),
        Errno::PERM => "operation not permitted".into(),
        Errno::NOEXEC => "exec format error".into(),
        Errno::NOTDIR => "not a directory".into(),
        Errno::ISDIR => "is a directory".into(),
        Errno::LOOP => "too many levels of symbolic links".into(),
        Errno::TOOBIG => "argument list too long".into(),
        Errno::TXTBSY => "text file busy".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn environment_is_completed_and_keeps_its_order() {
        let env = environment(&pairs(&[("B", "1"), ("A", "2"), ("B", "3")]), "/root");
        assert_eq!(
            env,
            pairs(&[
                ("PATH", DEFAULT_PATH),
                ("B", "3"),
                ("A", "2"),
                ("HOME", "/root")
            ])
        );
        let env = environment(&pairs(&[("HOME", ""), ("PATH", "/x")]), "/h");
        assert_eq!(env, pairs(&[("HOME", "/h"), ("PATH", "/x")]));
    }

    #[test]
    fn search_speaks_as_the_runtime() {
        let dir = std::env::temp_dir().join(format!("rbuild-search-{}", std::process::id()));
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("plain"), "").unwrap();
        let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let found =
            |program: &str| search(program, &at("")).map(|path| path.as_os_str().to_owned());
        assert_eq!(
            found("nope"),
            Err("executable file not found in $PATH".into())
        );
        let nope = at("nope");
        assert_eq!(
            found(&nope),
            Err(format!("stat {nope}: no such file or directory"))
        );
        assert_eq!(found(&at("plain")), Err("permission denied".into()));
        assert_eq!(found(&at("sub")), Err("is a directory".into()));
        assert_eq!(
            search("sh", "/bin").unwrap().as_os_str(),
            OsStr::new("/bin/sh")
        );
        fs::remove_dir_all(dir).ok();
    }
}
