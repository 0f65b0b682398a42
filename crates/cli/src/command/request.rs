//! From options to a build request: reads the environment and standard input, checks what only makes
//! sense together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild::oci::Platform;
use rbuild::{
    Annotation, ArchiveInput, BuildRequest, ContextInput, Dest, DockerfileInput, Entitlements,
    Export, ExportSpec, NetworkMode, NewPrivileges, NoCache, PullPolicy, SecretInput, SecretSource,
};

use super::proxy::proxies;
use super::{CommandError, docker_config};
use crate::args::{
    AllowArg, BuildArgs, Context, Pair, PlatformArg, PullArg, ResultArgs, SecretArg, SecretPlace,
    SecurityArg, SshArg,
};

/// The variable that every client hands on by itself.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The variable with the platform to build for where none is named.
const PLATFORM: &str = "DOCKER_DEFAULT_PLATFORM";
/// Most bytes taken from standard input: far above any Dockerfile.
const STDIN_LIMIT: u64 = 16 << 20;
/// Bytes that tell an archive from a Dockerfile.
const HEAD: u64 = 1024;

/// Returns what the options ask for.
pub fn request(args: BuildArgs) -> Result<BuildRequest, CommandError> {
    if let Some(refusal) = args.foreign.refusal {
        return Err(CommandError::Usage(refusal));
    }
    let (context, dockerfile) = sources(args.context, args.file.as_deref())?;
    let outputs = outputs(args.results)?;
    let steps = args.steps;
    let mut agents = agents(steps.ssh)?;
    agents.extend(agent_of_context(&context, &agents));
    Ok(BuildRequest {
        context,
        dockerfile,
        outputs,
        tags: args.tags,
        target: args.target,
        build_args: build_args(args.build_args),
        labels: labels(args.labels),
        platforms: platforms(args.platforms)?,
        no_cache: no_cache(args.no_cache, args.no_cache_filter),
        pull: match args.pull {
            PullArg::Always => PullPolicy::Always,
            PullArg::Missing => PullPolicy::Missing,
        },
        resolve: args.resolve,
        contexts: args
            .contexts
            .into_iter()
            .map(|context| (context.name, context.place))
            .collect(),
        extra_hosts: steps
            .add_hosts
            .into_iter()
            .map(|host| (host.name, host.address))
            .collect(),
        entitlements: entitlements(&steps.allow, steps.network),
        network: steps.network,
        shm_size: steps.shm_size.unwrap_or_default(),
        ulimits: steps.ulimits,
        secrets: secrets(steps.secrets)?,
        agents,
        new_privileges: new_privileges(&steps.security_opt),
        jobs: steps.jobs,
    })
}

/// Where the files and the Dockerfile come from; standard input can be one of them.
fn sources(
    context: Context,
    file: Option<&Path>,
) -> Result<(ContextInput, DockerfileInput), CommandError> {
    let from_stdin = file.is_some_and(|file| file == Path::new("-"));
    let dockerfile = match file {
        Some(_) if from_stdin && context == Context::Stdin => {
            return Err(CommandError::Usage(
                "context and Dockerfile cannot both be standard input".to_owned(),
            ));
        }
        Some(_) if from_stdin => DockerfileInput::Text(text(Vec::new())?),
        Some(file) => DockerfileInput::File(file.to_owned()),
        None => DockerfileInput::Default,
    };
    match context {
        Context::Directory(dir) => Ok((ContextInput::Directory(dir), dockerfile)),
        Context::Remote(address) => Ok((ContextInput::Remote(address), dockerfile)),
        Context::Stdin => {
            let mut input = stdin()?;
            let mut head = Vec::new();
            (&mut input)
                .take(HEAD)
                .read_to_end(&mut head)
                .map_err(unreadable)?;
            if is_archive(&head) {
                let archive = ArchiveInput {
                    head: head.into(),
                    rest: Arc::new(input),
                };
                return Ok((ContextInput::Archive(archive), dockerfile));
            }
            if file.is_some() {
                return Err(CommandError::Usage(
                    "with --file standard input must be an archive, and it is none".to_owned(),
                ));
            }
            Ok((ContextInput::Empty, DockerfileInput::Text(text(head)?)))
        }
    }
}

/// Standard input without a buffer, so that nothing of it is lost between two readers.
fn stdin() -> Result<File, CommandError> {
    let own = std::io::stdin().as_fd().try_clone_to_owned();
    own.map(File::from).map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> CommandError {
    anyhow::Error::from(error)
        .context("read standard input")
        .into()
}

/// What is on standard input behind `head`, as a whole.
fn text(head: Vec<u8>) -> Result<Vec<u8>, CommandError> {
    let mut bytes = head;
    stdin()?
        .take(STDIN_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > STDIN_LIMIT {
        return Err(CommandError::Usage(
            "standard input is larger than 16 MiB".to_owned(),
        ));
    }
    Ok(bytes)
}

/// Tells an archive from a Dockerfile by its first bytes: gzip, bzip2, xz, zstd or tar.
fn is_archive(bytes: &[u8]) -> bool {
    const MAGIC: [&[u8]; 4] = [
        b"\x1f\x8b\x08",
        b"BZh",
        b"\xfd7zXZ\x00",
        b"\x28\xb5\x2f\xfd",
    ];
    MAGIC.iter().any(|magic| bytes.starts_with(magic)) || is_tar(bytes)
}

/// Whether a tar header begins here: old ones have no magic, but all have a checksum.
fn is_tar(bytes: &[u8]) -> bool {
    const SUM: std::ops::Range<usize> = 148..156;
    let Some(header) = bytes.get(..512) else {
        return false;
    };
    let stated = String::from_utf8_lossy(&header[SUM]);
    let stated = stated.trim_matches([' ', '\0']);
    let found: u32 = (0..)
        .zip(header)
        .map(|(at, byte)| {
            if SUM.contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    u32::from_str_radix(stated, 8).is_ok_and(|stated| stated == found)
}

/// What the command line says, else what Docker's variable says.
fn platforms(given: Vec<PlatformArg>) -> Result<Vec<Platform>, CommandError> {
    let variable = std::env::var(PLATFORM).unwrap_or_default();
    if !given.is_empty() || variable.is_empty() {
        return Ok(given.into_iter().map(|arg| arg.0).collect());
    }
    variable
        .split(',')
        .map(|text| {
            Platform::parse(text)
                .map_err(|error| CommandError::Usage(format!("{PLATFORM}: {error}")))
        })
        .collect()
}

/// Begins with what clients hand on by themselves. A name without a value takes it from the
/// environment, and is left out if it is not there.
fn build_args(pairs: Vec<Pair>) -> BTreeMap<String, String> {
    let mut found = docker_config().map(|dir| proxies(&dir)).unwrap_or_default();
    if let Ok(epoch) = std::env::var(EPOCH) {
        found.insert(EPOCH.to_owned(), epoch);
    }
    for pair in pairs {
        let value = pair.value.or_else(|| std::env::var(&pair.name).ok());
        if let Some(value) = value {
            found.insert(pair.name, value);
        }
    }
    found
}

fn labels(pairs: Vec<Pair>) -> BTreeMap<String, String> {
    let labels = pairs.into_iter();
    labels
        .map(|pair| (pair.name, pair.value.unwrap_or_default()))
        .collect()
}

fn no_cache(all: bool, stages: Vec<String>) -> NoCache {
    match (all, stages.is_empty()) {
        (true, _) => NoCache::All,
        (false, true) => NoCache::Nothing,
        (false, false) => NoCache::Stages(stages),
    }
}

/// `--network=host` on the command line is itself the right to use it.
fn entitlements(allowed: &[AllowArg], network: NetworkMode) -> Entitlements {
    Entitlements {
        network_host: network == NetworkMode::Host || allowed.contains(&AllowArg::NetworkHost),
        security_insecure: allowed.contains(&AllowArg::SecurityInsecure),
    }
}

fn new_privileges(options: &[SecurityArg]) -> NewPrivileges {
    match options.last() {
        Some(SecurityArg::NoNewPrivileges) => NewPrivileges::Forbidden,
        Some(SecurityArg::NewPrivileges) | None => NewPrivileges::Allowed,
    }
}

/// Has the image sent to registries and to the engine if that is asked for, and gives annotations to all
/// outputs.
///
/// As with Docker's client, `--push` means the image outputs there are, or else one of its own.
fn outputs(results: ResultArgs) -> Result<Vec<ExportSpec>, CommandError> {
    let mut outputs = results.outputs;
    if results.push {
        let mut has_image = false;
        for output in &mut outputs {
            if let Export::Image(image) = &mut output.export {
                image.push = true;
                has_image = true;
            }
        }
        if !has_image {
            outputs.push(Export::parse("type=registry").map_err(anyhow::Error::from)?);
        }
    }
    if results.load && !outputs.iter().any(is_load) {
        let docker = Export::parse("type=docker").map_err(anyhow::Error::from)?;
        outputs.push(docker);
    }
    let annotations: Vec<Annotation> = results
        .annotations
        .into_iter()
        .flat_map(|given| given.0)
        .collect();
    for output in &mut outputs {
        output.image.annotations.extend(annotations.iter().cloned());
    }
    Ok(outputs)
}

/// The user's own agent for a context that is reached over ssh, where none is named; as buildx does.
fn agent_of_context(
    context: &ContextInput,
    given: &BTreeMap<String, Vec<PathBuf>>,
) -> Option<(String, Vec<PathBuf>)> {
    let over_ssh =
        matches!(context, ContextInput::Remote(address) if rbuild::is_ssh_context(address));
    let own = std::env::var_os("SSH_AUTH_SOCK").filter(|own| !own.is_empty());
    let wanted = over_ssh && given.is_empty();
    wanted.then(|| Some(("default".to_owned(), vec![own?.into()])))?
}

fn is_load(spec: &ExportSpec) -> bool {
    matches!(spec.export, Export::DockerArchive { dest: Dest::Engine })
}

/// An agent without a path is the user's own.
fn agents(args: Vec<SshArg>) -> Result<BTreeMap<String, Vec<PathBuf>>, CommandError> {
    let paths = |arg: SshArg| {
        if !arg.paths.is_empty() {
            return Ok((arg.id, arg.paths));
        }
        let own = std::env::var_os("SSH_AUTH_SOCK").filter(|own| !own.is_empty());
        let own = own.ok_or_else(|| {
            let message = format!("ssh agent {}: SSH_AUTH_SOCK is not set", arg.id);
            CommandError::Usage(message)
        })?;
        Ok((arg.id, vec![own.into()]))
    };
    args.into_iter().map(paths).collect()
}

fn secrets(args: Vec<SecretArg>) -> Result<Vec<SecretInput>, CommandError> {
    args.into_iter().map(secret).collect()
}

/// A variable that is not set is an empty secret, as with buildx; a file that is not there is an
/// error.
fn secret(arg: SecretArg) -> Result<SecretInput, CommandError> {
    let variable = |name: &str| std::env::var_os(name).map(OsStringExt::into_vec);
    let source = match arg.place {
        SecretPlace::File(path) => SecretSource::File(path),
        SecretPlace::Variable(name) => SecretSource::Value(variable(&name).unwrap_or_default()),
        SecretPlace::Either(name) => match variable(&name) {
            Some(value) => SecretSource::Value(value),
            None => SecretSource::File(name.into()),
        },
    };
    match &source {
        SecretSource::File(path) if !path.exists() => Err(CommandError::Usage(format!(
            "secret {}: file {} is not there",
            arg.id,
            path.display()
        ))),
        _ => Ok(SecretInput { id: arg.id, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_dockerfiles() {
        assert!(is_archive(b"\x1f\x8b\x08\x00"));
        let mut tar = vec![0; 512];
        tar[0] = b'a';
        assert!(!is_archive(&tar));
        let sum = format!("{:06o}\0 ", 8 * 32 + u32::from(b'a'));
        tar[148..156].copy_from_slice(sum.as_bytes());
        assert!(is_archive(&tar));
        assert!(!is_archive(b"FROM scratch\n"));
        assert!(!is_archive(b""));
    }
}
