//! The secrets and ssh agents of a build, as sources ask for them.

use std::path::PathBuf;

use crate::Result;

/// The secrets and ssh agents of a build, by id.
pub trait Keyring: Sync {
    /// The bytes of a secret; `None` if the build has none of that id.
    fn secret(&self, id: &str) -> Option<Vec<u8>>;

    /// An agent; `None` if the build has none of that id.
    ///
    /// Errors: [`Error::Agent`](crate::Error::Agent) when its socket cannot be made.
    fn agent(&self, id: &str) -> Result<Option<Box<dyn AgentSocket>>>;
}

/// A socket behind which an ssh agent answers for as long as the value lives.
pub trait AgentSocket: Send + Sync {
    /// Where it is, for children of this process; short enough for an address of a socket.
    fn path(&self) -> PathBuf;
}

/// The agent of somebody else.
impl AgentSocket for PathBuf {
    fn path(&self) -> PathBuf {
        self.clone()
    }
}
