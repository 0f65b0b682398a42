//! The process hook, and the nursery that is started with the first piece of work that needs it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rbuild_layer::{Forked, Ids, InPlace, OverlayNamespace, Site, TreeWork, run_tree_job};
use rbuild_progress::CancelToken;
use rbuild_sandbox::{Duties, Error, Nursery, NurseryConfig, NurseryMode};
use rbuild_worker::StartNursery;

/// Returns at once unless this process was started as the nursery; then it never returns.
///
/// Call it first thing in `main`, before any thread is started: the engine starts the running binary
/// again to fork the steps of a build, and this is where that copy turns off. A host that cannot
/// call it points [`EngineConfig::helper`](crate::EngineConfig::helper) at an installed `rbuild`.
pub fn nursery_main() {
    rbuild_sandbox::nursery_main(&Trees);
}

/// What the nursery can do besides steps: work on trees.
struct Trees;

impl Duties for Trees {
    fn job(&self, request: &[u8], fds: Vec<OwnedFd>) -> Vec<u8> {
        run_tree_job(request, fds)
    }
}

/// The nursery of an engine: started once, with the first use.
pub(crate) struct LazyNursery {
    helper: PathBuf,
    mode: Mutex<Option<NurseryMode>>,
    running: Mutex<Option<Nursery>>,
}

impl LazyNursery {
    /// `helper` is the binary that becomes the nursery.
    pub(crate) fn new(helper: Option<PathBuf>) -> Arc<LazyNursery> {
        Arc::new(LazyNursery {
            helper: helper.unwrap_or_else(|| PathBuf::from("/proc/self/exe")),
            mode: Mutex::new(None),
            running: Mutex::new(None),
        })
    }

    /// With which rights steps run; probed once.
    pub(crate) fn mode(&self) -> Result<NurseryMode, Error> {
        let mut mode = self.mode.lock().unwrap_or_else(|e| e.into_inner());
        match &*mode {
            Some(known) => Ok(known.clone()),
            None => {
                let probed = NurseryMode::probe()?;
                *mode = Some(probed.clone());
                Ok(probed)
            }
        }
    }

    fn call(
        &self,
        request: &[u8],
        fds: &[BorrowedFd<'_>],
        cancel: &CancelToken,
    ) -> rbuild_layer::Result<Vec<u8>> {
        let failed = |e: Error| match e {
            Error::Cancelled(_) => rbuild_layer::Error::Cancelled,
            other => rbuild_layer::Error::TreeWork {
                reason: chain(&other),
            },
        };
        let nursery = self.nursery().map_err(failed)?;
        nursery.run_job(request, fds, cancel).map_err(failed)
    }
}

impl StartNursery for LazyNursery {
    fn nursery(&self) -> Result<Nursery, Error> {
        let mut running = self.running.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(nursery) = &*running {
            return Ok(nursery.clone());
        }
        let nursery = Nursery::start(&NurseryConfig {
            helper: self.helper.clone(),
            mode: self.mode()?,
        })?;
        *running = Some(nursery.clone());
        Ok(nursery)
    }
}

/// Who touches the trees of layers: this process with all of root's rights, the nursery otherwise.
pub(crate) fn tree_work(nursery: &Arc<LazyNursery>) -> Arc<dyn TreeWork> {
    let ids = match nursery.mode() {
        Ok(NurseryMode::Root) => return Arc::new(InPlace::root()),
        Ok(NurseryMode::Nested { .. } | NurseryMode::Subordinate { .. }) => Ids::All,
        Ok(NurseryMode::SingleId) => Ids::Single,
        // Root without a namespace to work in reads and removes what it made in better times.
        Err(_) if rustix::process::geteuid().is_root() => {
            return Arc::new(InPlace::at(Site {
                namespace: OverlayNamespace::User,
                ids: Ids::All,
            }));
        }
        // Nothing here is ever used; the first step says why.
        Err(_) => Ids::Single,
    };
    let site = Site {
        namespace: OverlayNamespace::User,
        ids,
    };
    let nursery = Arc::clone(nursery);
    Arc::new(Forked::new(
        site,
        move |request: &[u8], fds: &[BorrowedFd<'_>], cancel: &CancelToken| {
            nursery.call(request, fds, cancel)
        },
    ))
}

/// An error with its causes, joined by colons.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
