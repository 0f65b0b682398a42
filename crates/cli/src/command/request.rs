//! From options to a build request: reads the environment, checks what only makes
//! sense together.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rbuild::oci::Platform;
use rbuild::progress::CancelToken;
use rbuild::{
    Annotation, BuildRequest, ContextInput, Dest, DockerfileInput, Entitlements, Export,
    ExportSpec, LockPolicy, LockUse, NetworkMode, NewPrivileges, NoCache, OnMiss, PullPolicy,
    SecretInput, SecretSource,
};

use super::proxy::proxies;
use super::stdin::{self, Piped};
use super::{CommandError, docker_config, remote_cache};
use crate::args::{
    AllowArg, BuildArgs, CacheMountArg, Context, LockUseArgs, NetworkArgs, Pair, PlatformArg,
    PullArg, ResultArgs, SecretArg, SecretPlace, SecurityArg, SshArg,
};

/// The variable that every client hands on by itself.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The variable with the platform to build for where none is named.
const PLATFORM: &str = "DOCKER_DEFAULT_PLATFORM";
/// Returns what the options ask for. A wait for standard input ends when `cancel` is set.
pub fn request(args: BuildArgs, cancel: &CancelToken) -> Result<BuildRequest, CommandError> {
    if let Some(refusal) = args.foreign.refusal {
        return Err(CommandError::Usage(refusal));
    }
    let (context, dockerfile) = sources(args.context, args.file.as_deref(), cancel)?;
    let outputs = outputs(args.results)?;
    let steps = args.steps;
    let mut agents = agents(steps.ssh)?;
    agents.extend(agent_of_context(&context, &agents));
    Ok(BuildRequest {
        cache: remote_cache::request(args.remote_cache)?,
        context,
        dockerfile,
        outputs,
        tags: args.tags,
        target: args.target,
        build_args: build_args(args.build_args),
        labels: labels(args.labels),
        platforms: platforms(args.platforms)?,
        no_cache: no_cache(args.no_cache, args.no_cache_filter),
        on_miss: match args.fail_on_miss {
            true => OnMiss::Fail,
            false => OnMiss::Build,
        },
        pull: args.pull.into(),
        resolve: args.resolve,
        lock: lock(args.lock, args.network),
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
        cache_dirs: cache_dirs(args.cache_mounts)?,
        new_privileges: new_privileges(&steps.security_opt),
        jobs: steps.jobs,
    })
}

impl From<PullArg> for PullPolicy {
    fn from(arg: PullArg) -> Self {
        match arg {
            PullArg::Always => Self::Always,
            PullArg::Missing => Self::Missing,
        }
    }
}

/// A build that may ask nobody takes the names of images from a lock, too, if one is there.
fn lock(args: LockUseArgs, network: NetworkArgs) -> LockUse {
    let policy = match (args.locked, network.offline) {
        (true, _) => LockPolicy::Required,
        (false, true) => LockPolicy::Names,
        (false, false) => LockPolicy::Ignored,
    };
    LockUse::new(policy, args.lock_file)
}

/// Where the files and the Dockerfile come from; standard input can be one of them.
pub(super) fn sources(
    context: Context,
    file: Option<&Path>,
    cancel: &CancelToken,
) -> Result<(ContextInput, DockerfileInput), CommandError> {
    let from_stdin = file.is_some_and(|file| file == Path::new("-"));
    let dockerfile = match file {
        Some(_) if from_stdin && context == Context::Stdin => {
            return Err(CommandError::Usage(
                "context and Dockerfile cannot both be standard input".to_owned(),
            ));
        }
        Some(_) if from_stdin => DockerfileInput::Text(stdin::text(cancel)?),
        Some(file) => DockerfileInput::File(file.to_owned()),
        None => DockerfileInput::Default,
    };
    match context {
        Context::Directory(dir) => Ok((ContextInput::Directory(dir), dockerfile)),
        Context::Remote(address) => Ok((ContextInput::Remote(address), dockerfile)),
        Context::Stdin => match stdin::context(cancel)? {
            Piped::Archive(archive) => Ok((ContextInput::Archive(archive), dockerfile)),
            Piped::Text(_) if file.is_some() => Err(CommandError::Usage(
                "with --file standard input must be an archive, and it is none".to_owned(),
            )),
            Piped::Text(text) => Ok((ContextInput::Empty, DockerfileInput::Text(text))),
        },
    }
}

/// What the command line says, else what Docker's variable says.
pub(super) fn platforms(given: Vec<PlatformArg>) -> Result<Vec<Platform>, CommandError> {
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
pub(super) fn build_args(pairs: Vec<Pair>) -> BTreeMap<String, String> {
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
pub(super) fn agent_of_context(
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
pub(super) fn agents(args: Vec<SshArg>) -> Result<BTreeMap<String, Vec<PathBuf>>, CommandError> {
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

fn cache_dirs(args: Vec<CacheMountArg>) -> Result<BTreeMap<String, PathBuf>, CommandError> {
    let mut all = BTreeMap::new();
    for CacheMountArg { id, dir } in args {
        if all.contains_key(&id) {
            let message = format!("--cache-mount: the cache mount {id} is given two directories");
            return Err(CommandError::Usage(message));
        }
        let dir = std::path::absolute(&dir).map_err(|e| {
            CommandError::Usage(format!("--cache-mount {id}={}: {e}", dir.display()))
        })?;
        all.insert(id, dir);
    }
    Ok(all)
}

pub(super) fn secrets(args: Vec<SecretArg>) -> Result<Vec<SecretInput>, CommandError> {
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
