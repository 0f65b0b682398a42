//! RUN --mount: the five types, and what they take their files from.

use rbuild_dockerfile::instruction::{Mount, MountKind, RunInstruction, Sharing as Shared};
use rbuild_dockerfile::quote::go_quote;
use rbuild_graph::{ExecMount, ExecMountKind, Sharing};

use super::stage::{Files, Inputs, StageCx};
use crate::stage::{Command, Source};
use crate::{Access, Code, Diagnostic, path};

/// Mode of a secret's file.
const SECRET_MODE: u32 = 0o400;
/// Mode of an agent's socket.
const SSH_MODE: u32 = 0o600;

/// The mounts of one RUN.
pub(super) struct Mounts {
    /// In order.
    pub(super) mounts: Vec<ExecMount>,
    /// Environment variables that hold secrets.
    pub(super) secret_names: Vec<String>,
}

/// Makes the mounts of a RUN; the files that they show become inputs.
pub(super) fn mounts(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    run: &RunInstruction,
    inputs: &mut Inputs,
) -> Result<Mounts, Diagnostic> {
    let mut made = Mounts {
        mounts: Vec::new(),
        secret_names: Vec::new(),
    };
    for (index, flag) in run.mounts.iter().enumerate() {
        let mount = stage.expand_mount(flag, command)?;
        let source = command.sources.get(index).copied().flatten();
        made.secret_names.extend(mount.env.clone());
        let files = files(stage, command, &mount, source)?;
        let input = files.map(|files| inputs.position(files.vertex));
        let one = one(stage, &mount, input)
            .map_err(|message| Diagnostic::error(Code::InvalidMount, command.span, message))?;
        list(stage, command, &one.kind);
        made.mounts.push(one);
    }
    Ok(made)
}

/// Lists what a mount takes from outside.
fn list(stage: &mut StageCx<'_, '_>, command: &Command<'_>, kind: &ExecMountKind) {
    let params = &mut stage.state.params;
    let (list, id, required) = match kind {
        ExecMountKind::Secret { id, required, .. } => (&mut params.secrets, id, *required),
        ExecMountKind::Ssh { id, required, .. } => (&mut params.ssh, id, *required),
        _ => return,
    };
    list.entry(id.clone()).or_insert_with(|| Access {
        name: id.clone(),
        required,
        span: command.span,
    });
}

/// The files behind a mount: of its `from`, or for a bind without one of the build context.
fn files(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    mount: &Mount,
    source: Option<Source>,
) -> Result<Option<Files>, Diagnostic> {
    let wanted = match mount.kind {
        MountKind::Bind => true,
        MountKind::Cache => source.is_some(),
        MountKind::Tmpfs | MountKind::Secret | MountKind::Ssh => false,
    };
    if !wanted {
        return Ok(None);
    }
    stage.files(source, command).map(Some).map_err(|_| {
        let message = format!(
            "cannot mount from stage {} to {}, stage needs to be defined before current command",
            go_quote(&mount.from),
            go_quote(&mount.target),
        );
        Diagnostic::error(Code::StageOrder, command.span, message)
    })
}

fn one(stage: &StageCx<'_, '_>, mount: &Mount, input: Option<usize>) -> Result<ExecMount, String> {
    let kind = match mount.kind {
        MountKind::Secret => return secret(stage, mount),
        MountKind::Ssh => return ssh(stage, mount),
        MountKind::Tmpfs => ExecMountKind::Tmpfs {
            size: u64::try_from(mount.size_bytes)
                .ok()
                .filter(|&size| size > 0),
        },
        MountKind::Bind => ExecMountKind::Bind {
            input: input.unwrap_or_default(),
            source: path::absolute(&mount.source),
        },
        MountKind::Cache => cache(stage, mount, input),
    };
    let target = path::join(&stage.state.workdir(), &mount.target);
    if target == "/" {
        return Err("invalid mount target \"/\"".to_owned());
    }
    Ok(ExecMount {
        target,
        kind,
        read_only: mount.read_only,
    })
}

fn cache(stage: &StageCx<'_, '_>, mount: &Mount, input: Option<usize>) -> ExecMountKind {
    let id = match mount.id.as_str() {
        // As it was written: a relative target means the same cache in every directory.
        "" => path::clean(&mount.target),
        id => id.to_owned(),
    };
    let namespace = stage
        .round
        .request
        .build_args
        .get("BUILDKIT_CACHE_MOUNT_NS");
    let id = match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => format!("{namespace}/{id}"),
        None => id,
    };
    ExecMountKind::Cache {
        id,
        explicit_id: !mount.id.is_empty(),
        input,
        source: path::absolute(&mount.source),
        sharing: match mount.sharing {
            None | Some(Shared::Shared) => Sharing::Shared,
            Some(Shared::Private) => Sharing::Private,
            Some(Shared::Locked) => Sharing::Locked,
        },
        mode: mount.mode,
        uid: mount.uid,
        gid: mount.gid,
    }
}

fn secret(stage: &StageCx<'_, '_>, mount: &Mount) -> Result<ExecMount, String> {
    let id = [&mount.source, &mount.id]
        .into_iter()
        .find(|id| !id.is_empty());
    let id = match id {
        Some(id) => id.clone(),
        None if mount.target.is_empty() => return Err("one of source, target required".to_owned()),
        None => path::base_name(&mount.target).to_owned(),
    };
    let target = match mount.target.as_str() {
        "" if mount.env.is_some() => None,
        "" => Some(format!("/run/secrets/{}", path::base_name(&id))),
        target => Some(path::join(&stage.state.workdir(), target)),
    };
    Ok(ExecMount {
        target: target.clone().unwrap_or_default(),
        kind: ExecMountKind::Secret {
            id,
            target,
            env: mount.env.clone(),
            required: mount.required,
            mode: mount.mode.unwrap_or(SECRET_MODE),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        },
        read_only: true,
    })
}

fn ssh(stage: &StageCx<'_, '_>, mount: &Mount) -> Result<ExecMount, String> {
    if !mount.source.is_empty() {
        return Err("ssh does not support source".to_owned());
    }
    let target = match mount.target.as_str() {
        "" => None,
        target => Some(path::join(&stage.state.workdir(), target)),
    };
    let id = match mount.id.as_str() {
        "" => "default",
        id => id,
    };
    Ok(ExecMount {
        target: target.clone().unwrap_or_default(),
        kind: ExecMountKind::Ssh {
            id: id.to_owned(),
            target,
            required: mount.required,
            mode: mount.mode.unwrap_or(SSH_MODE),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
        },
        read_only: true,
    })
}
