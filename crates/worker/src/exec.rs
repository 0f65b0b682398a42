//! Exec ops: one process over the trees of a stack; what it changed becomes a layer.

use rbuild_graph::{ExecOp, NetworkMode, SecurityMode};
use rbuild_layer::LayerId;
use rbuild_progress::{Event, LogChunk};
use rbuild_sandbox::{Limits, Network, RootSpec, Security, StepExit, StepIo, StepSpec, Ulimit};
use rbuild_solver::OpContext;
use std::os::fd::BorrowedFd;
use std::time::SystemTime;

use crate::log::StepLog;
use crate::mount::StepMounts;
use crate::{Error, LocalWorker, Output, Result, emulation};

/// What a step's host is called when nobody names it.
const HOSTNAME: &str = "buildkitsandbox";

/// How a step ends whose program cannot be started, and a shell that could not start one.
const NOT_STARTED: [i32; 2] = [255, 126];

impl LocalWorker<'_> {
    /// Carries out an exec op; returns its layer.
    pub(crate) fn exec_op(
        &self,
        op: &ExecOp,
        inputs: &[Output],
        cx: &OpContext<'_>,
    ) -> Result<LayerId> {
        let parents = match op.base.and_then(|at| inputs.get(at)) {
            Some(base) => base.layers().to_vec(),
            None => Vec::new(),
        };
        let lowers = self.layers.lowers(&parents, cx.cancel)?;
        let mounts = self.mounts(op, inputs, cx)?;
        let active = self.layers.prepare()?;
        let root = RootSpec {
            lowers,
            upper: active.upper().to_owned(),
            work: active.work().to_owned(),
        };
        let spec = self.spec(op, root, &mounts);
        let mut log = StepLog::create(&self.store, &self.steps.log_dir, cx.key.as_str())?;
        match self.run_step((&spec, &mounts.locks()), &mut log, cx)? {
            StepExit::Code(0) => {}
            exit => {
                // Only the kernel knows what it can run: an image may hold this machine's programs whatever its
                // label says, or an emulator of its own.
                if NOT_STARTED.contains(&exit.code()) {
                    emulation::check(&op.platform)?;
                }
                return Err(Error::Exit {
                    args: op.args.clone(),
                    exit,
                    log: log.keep()?,
                });
            }
        }
        // Caches are free for others before the layer is read.
        drop(mounts);
        Ok(active.commit(&parents, cx.cancel)?)
    }

    fn run_step(
        &self,
        (spec, locks): (&StepSpec, &[BorrowedFd<'_>]),
        log: &mut StepLog,
        cx: &OpContext<'_>,
    ) -> Result<StepExit> {
        let nursery = self.nursery.nursery().map_err(Error::Sandbox)?;
        let mut log_error = None;
        let mut on_output = |stream, data: &[u8]| {
            if let Err(e) = log.write(data) {
                log_error.get_or_insert(e);
            }
            cx.sink.send(Event::Log(LogChunk {
                vertex: cx.key.clone(),
                stream,
                data: data.to_vec(),
                at: SystemTime::now(),
            }));
        };
        let io = StepIo::Output {
            on_output: &mut on_output,
        };
        let exit = nursery.run_step_holding(spec, io, locks, cx.cancel);
        let exit = exit.map_err(|e| match e {
            rbuild_sandbox::Error::Cancelled(_) => Error::Cancelled,
            source @ (rbuild_sandbox::Error::User(_)
            | rbuild_sandbox::Error::MissingSource { .. }
            | rbuild_sandbox::Error::Setup { .. }) => Error::Start {
                args: spec.args.clone(),
                source,
            },
            other => Error::Sandbox(other),
        })?;
        match log_error {
            Some(e) => Err(e),
            None => Ok(exit),
        }
    }

    fn spec(&self, op: &ExecOp, root: RootSpec, mounts: &StepMounts) -> StepSpec {
        let mut env = op.env.clone();
        env.extend(op.proxy_env.iter().cloned());
        env.extend(mounts.env.iter().cloned());
        let hostname = if op.hostname.is_empty() {
            HOSTNAME
        } else {
            &op.hostname
        };
        StepSpec {
            args: op.args.clone(),
            env,
            cwd: op.cwd.clone(),
            user: op.user.clone(),
            hostname: hostname.to_owned(),
            network: match op.network {
                NetworkMode::Default => Network::Default,
                NetworkMode::None => Network::None,
                NetworkMode::Host => Network::Host,
            },
            security: match op.security {
                SecurityMode::Sandbox => Security::Sandbox,
                SecurityMode::Insecure => Security::Insecure,
            },
            root,
            mounts: mounts.specs.clone(),
            hosts: op
                .extra_hosts
                .iter()
                .map(|(name, ip)| (ip.clone(), name.clone()))
                .collect(),
            shm_size: op.shm_size,
            ulimits: op
                .ulimits
                .iter()
                .map(|limit| Ulimit {
                    name: limit.name.clone(),
                    soft: limit.soft,
                    hard: limit.hard,
                })
                .collect(),
            no_new_privileges: self.steps.no_new_privileges,
            limits: Limits::default(),
        }
    }
}
