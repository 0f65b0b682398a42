//! The machine's own package sources, read when they are needed and written down nowhere.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// Where apt on this machine gets the packages of its distribution, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptConfig {
    /// Lines in the format of `sources.list`, the release itself first.
    pub sources: Vec<String>,
    /// Lines in the format of `apt.conf`: proxies, certificates and the like.
    pub options: Vec<String>,
    /// Code name of the release, such as `bookworm`.
    pub suite: String,
}

const INDEX_FORMAT: &str =
    "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(CODENAME)|$(ARCHITECTURE)";

impl AptConfig {
    /// Reads it from `apt-get indextargets` and `apt-config`.
    ///
    /// Fails when apt has no index of the distribution yet: `apt-get update` makes one.
    pub fn of_this_machine() -> Result<Self> {
        let release = shell::read(Path::new("/etc/os-release"))?;
        let Some(suite) = field(&release, "VERSION_CODENAME") else {
            bail!("/etc/os-release names no release; this needs Debian or a relative");
        };
        let indexes = shell::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            INDEX_FORMAT,
            "Created-By: Packages",
        ]))?;
        let keyring = format!(
            "/usr/share/keyrings/{}-archive-keyring.gpg",
            field(&release, "ID").unwrap_or("debian")
        );
        let signed_by = Path::new(&keyring).exists().then_some(keyring.as_str());
        let sources = source_lines(&indexes, suite, signed_by);
        if sources.is_empty() {
            bail!("apt knows no packages of {suite}; run `apt-get update` first");
        }
        let dump = shell::output(Command::new("apt-config").arg("dump"))?;
        Ok(Self {
            sources,
            options: transport_options(&dump),
            suite: suite.to_owned(),
        })
    }

    /// Whether apt reaches any of its sources by TLS, so that certificates matter.
    pub fn needs_certificates(&self) -> bool {
        self.sources.iter().any(|line| line.contains("https:"))
    }
}

/// Returns the value of `KEY=value` or `KEY="value"` in an os-release file.
fn field<'a>(release: &'a str, key: &str) -> Option<&'a str> {
    release
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

/// Makes source lines of the indexes that belong to `suite`, its updates and its security archive.
fn source_lines(indexes: &str, suite: &str, signed_by: Option<&str>) -> Vec<String> {
    let option = signed_by.map_or(String::new(), |path| format!(" [signed-by={path}]"));
    let mut lines: Vec<(bool, String)> = Vec::new();
    for row in indexes.lines() {
        let cells: Vec<&str> = row.split('|').collect();
        let [uri, release, component, origin, codename, _] = cells[..] else {
            continue;
        };
        let ours = codename == suite || codename.starts_with(&format!("{suite}-"));
        let official = ["Debian", "Ubuntu"].contains(&origin);
        let line = format!("deb{option} {uri} {release} {component}");
        if ours && official && !lines.iter().any(|(_, known)| *known == line) {
            lines.push((release != suite, line));
        }
    }
    // mmdebstrap takes the first as the release to install; the sort is stable.
    lines.sort_by_key(|(extra, _)| *extra);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Keeps the settings that say how to reach a server, out of `apt-config dump`.
fn transport_options(dump: &str) -> Vec<String> {
    let wanted = [
        "Acquire::http::",
        "Acquire::https::",
        "Acquire::Retries",
        "Acquire::Check-Valid-Until",
    ];
    dump.lines()
        .filter(|line| wanted.iter().any(|prefix| line.starts_with(prefix)))
        .filter(|line| !line.ends_with("\"\";"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_releases_own_archives_become_sources() {
        let indexes = "http://m/sec/|r-security|main|Debian|r-security|amd64\n\
                       http://m/deb/|r|main|Debian|r|amd64\n\
                       http://m/deb/|r|main|Debian|r|i386\n\
                       https://other/|nodistro|main|Somebody|nodistro|amd64\n";
        assert_eq!(
            source_lines(indexes, "r", Some("/k")),
            [
                "deb [signed-by=/k] http://m/deb/ r main",
                "deb [signed-by=/k] http://m/sec/ r-security main"
            ]
        );
    }

    #[test]
    fn proxies_are_kept_and_empty_settings_are_not() {
        let dump = "APT \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://p:1/\";\nAcquire::https::CaInfo \"\";\n";
        assert_eq!(
            transport_options(dump),
            ["Acquire::http::Proxy \"http://p:1/\";"]
        );
    }

    #[test]
    fn fields_of_os_release_lose_their_quotes() {
        assert_eq!(
            field("ID=debian\nVERSION_CODENAME=\"r\"\n", "VERSION_CODENAME"),
            Some("r")
        );
    }
}
