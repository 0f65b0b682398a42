//! Exit codes.

use std::process::ExitCode;

use rbuild::ErrorKind;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Success,
    /// The build failed: the Dockerfile or a RUN.
    Failed,
    /// Wrong usage or settings.
    Usage,
    /// The host lacks something.
    Host,
    /// Interrupted.
    Interrupted,
    /// The code of a process that was run for the user.
    Process(u8),
}

impl Exit {
    /// The code that the calling shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Host => 3,
            Self::Interrupted => 130,
            Self::Process(code) => code,
        }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Build => Self::Failed,
            ErrorKind::Usage => Self::Usage,
            ErrorKind::Host => Self::Host,
            ErrorKind::Cancelled => Self::Interrupted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
