//! Where the container engines of this machine are, as their own clients find them.
//!
//! Docker: `DOCKER_HOST`, else the context of `DOCKER_CONTEXT`, else `currentContext` of `config.json`,
//! else the system's socket, else an ordinary user's own. Source: docker/cli, cli/context/store.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rbuild::oci::Digest;
use rbuild::{ContainerEngines, DaemonAddress, DockerPlace};
use serde_json::Value;

use super::{directory, docker_config};

/// Docker's socket where nobody says otherwise.
const SOCKET: &str = "/var/run/docker.sock";

/// The context that stands for no context.
const DEFAULT: &str = "default";

/// Most bytes of a settings file.
const MAX_FILE: u64 = 1 << 20;

/// Looks at the environment and at Docker's settings. Nothing is connected to.
pub fn container_engines() -> ContainerEngines {
    let settings = Settings {
        host: variable("DOCKER_HOST"),
        tls: variable("DOCKER_TLS_VERIFY").is_some() || variable("DOCKER_TLS").is_some(),
        context: variable("DOCKER_CONTEXT"),
        config: docker_config(),
        runtime: directory("XDG_RUNTIME_DIR"),
        client: program("docker"),
    };
    ContainerEngines {
        docker: settings.docker(),
        podman: program("podman"),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A program in `PATH`.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| {
            let meta = file.metadata();
            meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// What decides where Docker's engine is.
struct Settings {
    host: Option<String>,
    tls: bool,
    context: Option<String>,
    config: Option<PathBuf>,
    runtime: Option<PathBuf>,
    client: Option<PathBuf>,
}

impl Settings {
    fn docker(&self) -> DockerPlace {
        if let Some(host) = &self.host {
            return self.place(host, self.tls);
        }
        match self.context() {
            Ok(Some(name)) => self.of_context(&name),
            Ok(None) => DockerPlace::Socket(DaemonAddress::Unix(self.socket())),
            Err(reason) => DockerPlace::Unknown { reason },
        }
    }

    /// The context in use, if it is not the default one.
    fn context(&self) -> Result<Option<String>, String> {
        if let Some(name) = &self.context {
            return Ok(Some(name.clone()).filter(|name| name != DEFAULT));
        }
        let Some(dir) = &self.config else {
            return Ok(None);
        };
        let file = dir.join("config.json");
        let Some(config) = read(&file)? else {
            return Ok(None);
        };
        let current = config.get("currentContext").and_then(Value::as_str);
        Ok(current
            .filter(|name| !name.is_empty() && *name != DEFAULT)
            .map(str::to_owned))
    }

    fn of_context(&self, name: &str) -> DockerPlace {
        let unknown = |reason: String| DockerPlace::Unknown { reason };
        let id = Digest::sha256_of(name.as_bytes());
        let Some(dir) = &self.config else {
            return unknown(format!(
                "docker context {name}: there is no place for contexts"
            ));
        };
        let (meta, tls) = (
            dir.join("contexts/meta").join(id.hex()).join("meta.json"),
            dir.join("contexts/tls").join(id.hex()),
        );
        let meta = match read(&meta) {
            Ok(Some(meta)) => meta,
            Ok(None) => {
                return unknown(format!(
                    "docker context {name} does not exist; `docker context ls` lists those that do"
                ));
            }
            Err(reason) => return unknown(reason),
        };
        let endpoint = meta.pointer("/Endpoints/docker");
        let host = endpoint.and_then(|found| found.get("Host")?.as_str());
        match host.filter(|host| !host.is_empty()) {
            Some(host) => self.place(host, tls.exists()),
            None => unknown(format!("docker context {name} names no host")),
        }
    }

    /// What an address such as `unix:///run/docker.sock` stands for.
    fn place(&self, host: &str, tls: bool) -> DockerPlace {
        match host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => {
                DockerPlace::Socket(DaemonAddress::Unix(path.into()))
            }
            Some(("tcp", address)) if !tls => {
                DockerPlace::Socket(DaemonAddress::Tcp(with_port(address.trim_end_matches('/'))))
            }
            Some(("tcp" | "ssh", _)) => DockerPlace::Client {
                endpoint: host.to_owned(),
                program: self.client.clone(),
            },
            _ => DockerPlace::Unknown {
                reason: format!(
                    "`{host}` is no address of a Docker engine: unix:///PATH, tcp://HOST:PORT and \
                     ssh://HOST are"
                ),
            },
        }
    }

    /// The system's socket, or the user's own where that is not there.
    fn socket(&self) -> PathBuf {
        let own = self.runtime.as_ref().map(|dir| dir.join("docker.sock"));
        match own {
            Some(own) if !Path::new(SOCKET).exists() && own.exists() => own,
            _ => SOCKET.into(),
        }
    }
}

/// Docker's port where an address has none.
fn with_port(address: &str) -> String {
    let after_brackets = address.rsplit(']').next().unwrap_or(address);
    match after_brackets.contains(':') {
        true => address.to_owned(),
        false => format!("{address}:2375"),
    }
}

/// Reads a JSON file; `None` if it is not there.
fn read(path: &Path) -> Result<Option<Value>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("read {}: {error}", path.display());
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(meta) if !meta.is_file() || meta.len() > MAX_FILE => {
            return Err(failed(
                &"no settings file, but something else or something huge",
            ));
        }
        _ => {}
    }
    let bytes = fs::read(path).map_err(|error| failed(&error))?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| failed(&error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            host: None,
            tls: false,
            context: None,
            config: None,
            runtime: None,
            client: Some("/usr/bin/docker".into()),
        }
    }

    fn unix(path: &str) -> DockerPlace {
        DockerPlace::Socket(DaemonAddress::Unix(path.into()))
    }

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let check = |host: &str, tls: bool, expected: DockerPlace| {
            let settings = Settings {
                host: Some(host.to_owned()),
                tls,
                ..settings()
            };
            assert_eq!(settings.docker(), expected, "{host}");
        };
        let tcp = |host: &str| DockerPlace::Socket(DaemonAddress::Tcp(host.to_owned()));
        let client = |endpoint: &str| DockerPlace::Client {
            endpoint: endpoint.to_owned(),
            program: Some("/usr/bin/docker".into()),
        };
        check("unix:///run/d.sock", true, unix("/run/d.sock"));
        check("tcp://10.0.0.1:2375", false, tcp("10.0.0.1:2375"));
        check("tcp://build/", false, tcp("build:2375"));
        check("tcp://[::1]", false, tcp("[::1]:2375"));
        check("tcp://10.0.0.1:2376", true, client("tcp://10.0.0.1:2376"));
        check("ssh://me@host", false, client("ssh://me@host"));
        for wrong in ["/run/d.sock", "unix://", "npipe:////./pipe/docker"] {
            let settings = Settings {
                host: Some(wrong.to_owned()),
                ..settings()
            };
            let DockerPlace::Unknown { reason } = settings.docker() else {
                panic!("{wrong} was taken")
            };
            assert!(reason.contains(wrong), "{reason}");
        }
    }

    #[test]
    fn contexts_are_found_by_the_digest_of_their_name() {
        let dir = rbuild_testkit::TempDir::new();
        let of = |context: Option<&str>| {
            Settings {
                context: context.map(str::to_owned),
                config: Some(dir.to_path_buf()),
                ..settings()
            }
            .docker()
        };
        assert_eq!(of(None), unix(SOCKET));
        let id = Digest::sha256_of(b"mine");
        let meta = dir.join("contexts/meta").join(id.hex());
        fs::create_dir_all(&meta).unwrap();
        let text = r#"{"Name":"mine","Endpoints":{"docker":{"Host":"unix:///run/mine.sock"}}}"#;
        fs::write(meta.join("meta.json"), text).unwrap();
        assert_eq!(of(Some("mine")), unix("/run/mine.sock"));
        assert_eq!(of(Some("default")), unix(SOCKET));
        fs::write(dir.join("config.json"), r#"{"currentContext":"mine"}"#).unwrap();
        assert_eq!(of(None), unix("/run/mine.sock"));
        assert_eq!(of(Some("default")), unix(SOCKET));
        let reason = |place| match place {
            DockerPlace::Unknown { reason } => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason(of(Some("lost"))).contains("lost does not exist"));
        fs::write(dir.join("config.json"), "{").unwrap();
        assert!(reason(of(None)).contains("config.json"));
        fs::write(meta.join("meta.json"), "{}").unwrap();
        assert!(reason(of(Some("mine"))).contains("names no host"));
    }

    #[test]
    fn a_user_without_the_systems_socket_has_his_own() {
        let dir = rbuild_testkit::TempDir::new();
        fs::write(dir.join("docker.sock"), "").unwrap();
        let settings = Settings {
            runtime: Some(dir.to_path_buf()),
            ..settings()
        };
        let expected = match Path::new(SOCKET).exists() {
            true => unix(SOCKET),
            false => DockerPlace::Socket(DaemonAddress::Unix(dir.join("docker.sock"))),
        };
        assert_eq!(settings.docker(), expected);
    }
}
