//! `rbuild run`.

mod terminal;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rbuild::{Engine, RunIo, RunRequest};

use super::{CommandError, CommandResult, open};
use crate::args::RunArgs;
use crate::exit::Exit;
use crate::signal;

/// Runs a process in an image and ends with its exit code.
pub fn run(args: RunArgs, root: Option<&Path>) -> CommandResult {
    let engine = open(root)?;
    let (interactive, tty) = (args.interactive, args.tty);
    let request = request(args);
    if tty {
        return terminal::run(&engine, &request, interactive);
    }
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let nothing = File::open("/dev/null").map_err(anyhow::Error::from)?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let io = RunIo::Inherit {
        stdin: if interactive {
            stdin.as_fd()
        } else {
            nothing.as_fd()
        },
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
    };
    end(engine.run(&request, io, &cancel))
}

/// How a process ended is how the command ends.
fn end(result: Result<u8, rbuild::BuildError>) -> CommandResult {
    match result {
        Ok(code) => Ok(Exit::Process(code)),
        Err(error) => Err(CommandError::Engine(error)),
    }
}

fn request(args: RunArgs) -> RunRequest {
    let variable = |pair: crate::args::Pair| {
        let value = pair.value.or_else(|| std::env::var(&pair.name).ok())?;
        Some((pair.name, value))
    };
    let mut env: Vec<(String, String)> = args.env.into_iter().filter_map(variable).collect();
    if args.tty && !env.iter().any(|(name, _)| name == "TERM") {
        let term = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
        env.insert(0, ("TERM".to_owned(), term));
    }
    RunRequest {
        env,
        image: args.image,
        platform: args.platform.map(|arg| arg.0),
        command: args.command,
        entrypoint: args.entrypoint.map(|program| {
            // An empty one takes the image's away.
            Some(program)
                .filter(|program| !program.is_empty())
                .into_iter()
                .collect()
        }),
        volumes: args.volumes,
        workdir: args.workdir,
        user: args.user,
        network: args.network,
        hostname: args.hostname,
    }
}

/// The engine's view of one run, for the part that serves a terminal.
fn carry_out(
    engine: &Engine,
    request: &RunRequest,
    io: RunIo<'_>,
    cancel: &rbuild::progress::CancelToken,
) -> CommandResult {
    end(engine.run(request, io, cancel))
}
