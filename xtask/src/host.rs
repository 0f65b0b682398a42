//! How package managers on this machine reach their registries, for builds that call them in a RUN.
//!
//! Nothing of it stands in the repository: it is read when a build needs it and handed over as the named
//! context `host-config`, which the Dockerfiles mount and never copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::apt::AptConfig;
use crate::shell;

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Settings of pip that say where and how; the rest is a matter of taste.
const PIP_KEYS: &[&str] = &["index-url", "extra-index-url", "trusted-host", "proxy"];
/// Settings of npm that say where and how.
const NPM_KEYS: &[&str] = &["registry", "proxy", "https-proxy", "noproxy", "strict-ssl"];

/// Writes `apt.conf`, `pip.conf`, `npmrc` and `ca-certificates.crt` into the folder `dir`.
///
/// Paths in them are those under which the Dockerfiles mount the folder: `/host`.
pub fn write_config(dir: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    if Path::new(CERTIFICATES).exists() {
        let to = dir.join("ca-certificates.crt");
        fs::copy(CERTIFICATES, &to).with_context(|| format!("copy {CERTIFICATES}"))?;
    }
    let certificates = dir.join("ca-certificates.crt").exists();
    let apt = AptConfig::of_this_machine()?;
    shell::write(&dir.join("apt.conf"), apt.options.join("\n") + "\n")?;
    shell::write(&dir.join("pip.conf"), pip_config(certificates))?;
    shell::write(&dir.join("npmrc"), npm_config(certificates))
}

fn pip_config(certificates: bool) -> String {
    let mut text = "[global]\ndisable-pip-version-check = true\n".to_owned();
    if certificates {
        text.push_str("cert = /host/ca-certificates.crt\n");
    }
    for (key, value) in pip_settings(&ask(Command::new("pip").args(["config", "list"]))) {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

/// Reads lines such as `global.index-url='https://…'`; what the environment says (`:env:`) wins.
fn pip_settings(list: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for line in list.lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
        let value = value.trim_matches('\'').to_owned();
        if PIP_KEYS.contains(&key) && (section == ":env:" || !found.contains_key(key)) {
            found.insert(key.to_owned(), value);
        }
    }
    found
}

fn npm_config(certificates: bool) -> String {
    let mut text = "audit=false\nfund=false\nupdate-notifier=false\n".to_owned();
    if certificates {
        text.push_str("cafile=/host/ca-certificates.crt\n");
    }
    for key in NPM_KEYS {
        let value = ask(Command::new("npm").args(["config", "get", key]));
        let value = value.trim();
        if !value.is_empty() && value != "null" && value != "undefined" {
            text.push_str(&format!("{key}={value}\n"));
        }
    }
    text
}

/// Returns what the program prints; nothing where it is not installed or fails.
fn ask(command: &mut Command) -> String {
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_files() {
        let list =
            ":env:.index-url='https://b/'\nglobal.index-url='https://a/'\nglobal.cert='/c'\n";
        let settings = pip_settings(list);
        assert_eq!(
            settings.get("index-url").map(String::as_str),
            Some("https://b/")
        );
        assert_eq!(settings.len(), 1);
    }
}
