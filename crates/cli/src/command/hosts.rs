//! Where this machine keeps its settings for registries: Podman's, containerd's and Docker's places.

use std::path::{Path, PathBuf};

use rbuild::{DockerFiles, HostFiles, PodmanFiles};

use super::directory;

/// Looks the places up in the environment.
pub fn host_files() -> HostFiles {
    let root = root();
    let config =
        directory("XDG_CONFIG_HOME").or_else(|| directory("HOME").map(|home| home.join(".config")));
    let named = std::env::var_os("CONTAINERS_REGISTRIES_CONF").filter(|file| !file.is_empty());
    places(
        &root,
        &Own {
            config,
            docker: super::docker_config(),
            registries: named.map(PathBuf::from),
        },
    )
}

/// The machine's own file of this name.
pub fn etc(file: &str) -> PathBuf {
    root().join("etc").join(file)
}

/// Where the machine's settings begin.
fn root() -> PathBuf {
    let root = std::env::var_os("RBUILD_HOSTS_ROOT").filter(|root| !root.is_empty());
    root.map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// Registries that the user vouches for, separated by commas in a variable.
pub fn insecure_registries() -> Vec<String> {
    let variable = std::env::var("RBUILD_INSECURE_REGISTRIES").unwrap_or_default();
    let names = variable.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What belongs to the user.
#[derive(Debug, Default)]
struct Own {
    /// `~/.config`.
    config: Option<PathBuf>,
    /// `~/.docker`.
    docker: Option<PathBuf>,
    /// A `registries.conf` that stands in for all others.
    registries: Option<PathBuf>,
}

fn places(root: &Path, own: &Own) -> HostFiles {
    let etc = |path: &str| root.join("etc").join(path);
    let config = |path: &str| own.config.as_ref().map(|config| config.join(path));
    let user_registries = config("containers/registries.conf").filter(|file| file.exists());
    let mut drop_ins = Vec::new();
    // A file of the user's own takes the place of all of the system's (containers-registries.conf(5)).
    if user_registries.is_none() || own.registries.is_some() {
        drop_ins.push(etc("containers/registries.conf.d"));
    }
    drop_ins.extend(config("containers/registries.conf.d"));
    let registries = [
        own.registries.clone(),
        user_registries,
        Some(etc("containers/registries.conf")),
    ];
    let registries = registries.into_iter().flatten().take(1).collect();
    let both = |path: &str| [config(path), Some(etc(path))].into_iter().flatten();
    HostFiles {
        podman: PodmanFiles {
            registries,
            drop_ins,
            certificates: both("containers/certs.d").collect(),
        },
        containerd: both("containerd/certs.d").collect(),
        docker: DockerFiles {
            daemon: both("docker/daemon.json").collect(),
            certificates: both("docker/certs.d")
                .chain(own.docker.as_ref().map(|docker| docker.join("certs.d")))
                .collect(),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_users_own_registries_file_is_the_only_one() {
        let home = rbuild_testkit::TempDir::new();
        let own = Own {
            config: Some(home.path().to_owned()),
            ..Own::default()
        };
        let of_system = places(Path::new("/r"), &own);
        assert_eq!(
            of_system.podman.registries,
            [Path::new("/r/etc/containers/registries.conf")]
        );
        assert_eq!(of_system.podman.drop_ins.len(), 2);
        std::fs::create_dir(home.path().join("containers")).unwrap();
        let file = home.path().join("containers/registries.conf");
        std::fs::write(&file, "").unwrap();
        let of_user = places(Path::new("/r"), &own);
        assert_eq!(of_user.podman.registries, [file]);
        let drop_ins = [home.path().join("containers/registries.conf.d")];
        assert_eq!(of_user.podman.drop_ins, drop_ins);
    }
}
