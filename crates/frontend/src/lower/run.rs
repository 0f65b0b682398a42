//! RUN: one process over the stage's files.

use rbuild_dockerfile::InlineFile;
use rbuild_dockerfile::heredoc;
use rbuild_dockerfile::instruction::{CommandForm, Network, RunInstruction, Security};
use rbuild_dockerfile::quote::go_quote;
use rbuild_graph::{ExecMount, ExecMountKind, ExecOp, NetworkMode, Op, SecurityMode};

use super::mount::mounts;
use super::stage::{Inputs, StageCx};
use super::{Outcome, device, shell};
use crate::scope::Scope;
use crate::stage::Command;
use crate::{Code, Diagnostic, lint};

/// Where the here-documents that are programs are mounted.
const PIPES: &str = "/dev/pipes";
/// Mode of a here-document that is a program.
const SCRIPT_MODE: u32 = 0o755;
/// Names of the proxy settings, in upper case.
const PROXIES: [&str; 5] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

pub(super) fn lower(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    run: &RunInstruction,
) -> Outcome {
    device::check(stage, command, run)?;
    let script = script(stage, run);
    let mut inputs = Inputs::default();
    let base = stage.root_input(&mut inputs);
    let made = mounts(stage, command, run, &mut inputs)?;
    lint::global_arg::check(stage, command, (run, &made.secret_names));
    lint::heredoc::check(stage, command, run);
    let op = ExecOp {
        args: script.args.clone(),
        env: stage.state.scope.vars().to_vec(),
        proxy_env: proxy_env(stage),
        cwd: stage.state.workdir(),
        user: stage.state.config.config.user.clone(),
        network: network(stage, command, run)?,
        security: security(stage, command, run)?,
        hostname: hostname(stage),
        base,
        mounts: script.mount.into_iter().chain(made.mounts).collect(),
        platform: stage.state.platform.clone(),
        extra_hosts: stage.round.request.extra_hosts.clone(),
        shm_size: stage.round.request.shm_size,
        ulimits: stage.round.request.ulimits.clone(),
    };
    let code = format!("{}{}", command.instruction.header.code(), script.summary);
    let scope = masked(&stage.state.scope, &made.secret_names);
    let name = stage.shell_step_name(command, &code, &scope);
    let tag = stage.tag(name, command);
    let vertex = stage.build.add(Op::Exec(op), inputs.into_list(), tag);
    stage
        .build
        .exec_args(vertex, go_quote(&script.args.join(" ")));
    if stage.ignores_cache() {
        stage.build.ignore_cache(vertex);
    }
    let created_by = created_by(stage, &script.args);
    stage.state.commit(created_by, vertex);
    Ok(())
}

/// What is run, after here-documents found their place.
struct Script {
    args: Vec<String>,
    mount: Option<ExecMount>,
    /// What the step's name shows of a here-document.
    summary: String,
}

fn script(stage: &StageCx<'_, '_>, run: &RunInstruction) -> Script {
    let line = &run.command;
    let args: Vec<String> = line.args.iter().map(|arg| arg.text.clone()).collect();
    let plain = |args| Script {
        args,
        mount: None,
        summary: String::new(),
    };
    if line.form == CommandForm::Exec {
        return plain(args);
    }
    let text = args.join(" ");
    let [file, ..] = line.files.as_slice() else {
        return plain(shell::wrap(stage, text));
    };
    if !matches!(heredoc::mark(&text), Ok(Some(_))) {
        return plain(shell::wrap(stage, rejoined(text, &line.files)));
    }
    let body = if file.chomp {
        heredoc::chomp(&file.data)
    } else {
        file.data.clone()
    };
    let summary = format!(" ({})", summary(&file.data));
    if body.starts_with("#!") && stage.state.config.os != "windows" {
        let target = format!("{PIPES}/{}", file.name);
        return Script {
            args: shell::wrap(stage, target.clone()),
            mount: Some(program(target, body)),
            summary,
        };
    }
    Script {
        args: shell::wrap(stage, body),
        mount: None,
        summary,
    }
}

/// A body that names its own interpreter becomes a file that can be executed.
fn program(target: String, body: String) -> ExecMount {
    ExecMount {
        target,
        kind: ExecMountKind::File {
            bytes: body.into_bytes(),
            mode: SCRIPT_MODE,
        },
        read_only: true,
    }
}

/// The line with its bodies behind it: the shell reads here-documents itself.
fn rejoined(mut text: String, files: &[InlineFile]) -> String {
    for file in files {
        text.push('\n');
        text.push_str(&file.data);
        text.push_str(&file.name);
    }
    text
}

/// The first line of a body, with dots where there is more.
fn summary(body: &str) -> String {
    let mut lines = body.trim().lines();
    let first = lines.next().unwrap_or_default();
    let more = if lines.next().is_some() { "..." } else { "" };
    format!("{first}{more}")
}

fn network(
    stage: &StageCx<'_, '_>,
    command: &Command<'_>,
    run: &RunInstruction,
) -> Result<NetworkMode, Diagnostic> {
    let mode = match run.network {
        Network::Default => stage.round.request.network,
        Network::None => NetworkMode::None,
        Network::Host => NetworkMode::Host,
    };
    if mode == NetworkMode::Host && !stage.round.request.entitlements.network_host {
        return Err(not_entitled(command, "network.host"));
    }
    Ok(mode)
}

fn security(
    stage: &StageCx<'_, '_>,
    command: &Command<'_>,
    run: &RunInstruction,
) -> Result<SecurityMode, Diagnostic> {
    match run.security {
        Security::Sandbox => Ok(SecurityMode::Sandbox),
        Security::Insecure if stage.round.request.entitlements.security_insecure => {
            Ok(SecurityMode::Insecure)
        }
        Security::Insecure => Err(not_entitled(command, "security.insecure")),
    }
}

fn not_entitled(command: &Command<'_>, right: &str) -> Diagnostic {
    let message = format!("failed to load LLB: {right} is not allowed");
    Diagnostic::error(Code::NotEntitled, command.span, message)
        .with_help(format!("Allow it with --allow={right}."))
}

fn hostname(stage: &StageCx<'_, '_>) -> String {
    let request = stage.round.request;
    let given = request.build_args.get("BUILDKIT_SANDBOX_HOSTNAME");
    match (request.hostname.as_str(), given) {
        ("", Some(given)) => given.clone(),
        (hostname, _) => hostname.to_owned(),
    }
}

/// The proxy settings among the build arguments, each in upper and lower case.
fn proxy_env(stage: &StageCx<'_, '_>) -> Vec<(String, String)> {
    let args = &stage.round.request.build_args;
    let mut env = Vec::new();
    for name in PROXIES {
        let given = args.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given {
            env.push((name.to_owned(), value.clone()));
            env.push((name.to_lowercase(), value.clone()));
        }
    }
    env
}

/// The scope with the variables of secrets hidden.
fn masked(scope: &Scope, secrets: &[String]) -> Scope {
    let mut scope = scope.clone();
    for name in secrets {
        scope.set(name, "****");
    }
    scope
}

/// The history text: number and values of the declared arguments, then what is run.
fn created_by(stage: &StageCx<'_, '_>, args: &[String]) -> String {
    let mut declared = Scope::default();
    for arg in &stage.state.args {
        let value = stage.state.scope.get(&arg.name).or(arg.value.as_deref());
        declared.set(&arg.name, value.unwrap_or_default());
    }
    let mut text = "RUN".to_owned();
    let count = declared.vars().len();
    if count > 0 {
        text.push_str(&format!(" |{count}"));
    }
    for (name, value) in declared.vars() {
        text.push_str(&format!(" {name}={value}"));
    }
    format!("{text} {} # buildkit", args.join(" "))
}
