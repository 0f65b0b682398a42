//! Putting together what the caller and the files say.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::HeaderMap;

use super::address::Address;
use super::certs;
use super::containerd::{DEFAULT, Host, HostsFile, Settings};
use super::docker::{Daemon, bare_host};
use super::files::{HostFiles, broken, list, read_text};
use super::podman::Registries;
use super::site::{Role, Site, Speech};
use super::tls::{Tls, Verify};
use crate::config::{ClientConfig, Scheme};
use crate::endpoint::is_loopback;
use crate::{Error, Result};

/// The port to look an address up with; any will do.
const ANY_PORT: u16 = 443;

/// What is wanted of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What a tag stands for.
    Tag,
    /// Content by its digest.
    Digest,
    /// The registry itself, which alone takes what is sent.
    Registry,
}

/// All settings, those of the machine read when they are first needed.
pub(crate) struct Rules {
    config: Arc<ClientConfig>,
    podman: Registries,
    daemon: Daemon,
    daemon_file: PathBuf,
    /// What the folders of a host say.
    folders: Mutex<BTreeMap<String, Arc<Folder>>>,
    /// Whether a host lies in a network without TLS.
    in_network: Mutex<BTreeMap<String, bool>>,
}

/// What the folders of one host say.
#[derive(Default)]
struct Folder {
    tls: Tls,
    hosts: Option<HostsFile>,
}

/// How far a host is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// TLS, and it must prove who it is.
    Proven,
    /// TLS without a proof.
    Unproven,
    /// TLS without a proof, or none at all.
    Lenient,
    /// No TLS.
    Plain,
}

impl Rules {
    /// Reads the files that are about all registries.
    ///
    /// Errors: [`Error::HostFile`] if one of them makes no sense.
    pub(crate) fn read(config: Arc<ClientConfig>) -> Result<Self> {
        let files = &config.host_files;
        let (daemon, daemon_file) = daemon(files)?;
        Ok(Self {
            podman: registries(files)?,
            daemon,
            daemon_file,
            folders: Mutex::default(),
            in_network: Mutex::default(),
            config,
        })
    }

    /// The places to ask, in order. Reads files, and may look a name up: not for async code.
    ///
    /// Errors: [`Error::HostFile`], [`Error::Blocked`].
    pub(crate) fn sites(&self, domain: &str, path: &str, wanted: Wanted) -> Result<Vec<Site>> {
        let mut sites = self.all_sites(domain, path, wanted)?;
        if wanted == Wanted::Registry {
            sites.retain(|site| site.role == Role::Registry);
        }
        Ok(sites)
    }

    fn all_sites(&self, domain: &str, path: &str, wanted: Wanted) -> Result<Vec<Site>> {
        let own = self.config.hosts.get(domain);
        if let Some(own) = own.filter(|own| !own.mirrors.is_empty()) {
            let mut sites = Vec::new();
            for mirror in &own.mirrors {
                sites.push(self.named((mirror, path), (Role::Mirror, None), None)?);
            }
            sites.push(self.named((domain, path), (Role::Registry, None), None)?);
            return Ok(sites);
        }
        let name = format!("{domain}/{path}");
        if let Some(sites) = self.by_podman(&name, wanted)? {
            return Ok(sites);
        }
        if let Some(sites) = self.by_containerd(domain, path, wanted)? {
            return Ok(sites);
        }
        let mut sites = Vec::new();
        if domain == "docker.io" {
            for address in &self.daemon.mirrors {
                let mut address = address.clone();
                address.path.push_str("/v2");
                let mut site = self.addressed(&address, path, &Settings::default())?;
                site.told_by.push(self.daemon_file.clone());
                sites.push(site);
            }
        }
        sites.push(self.named((domain, path), (Role::Registry, None), None)?);
        Ok(sites)
    }

    fn by_podman(&self, name: &str, wanted: Wanted) -> Result<Option<Vec<Site>>> {
        let Some(registry) = self.podman.find(name) else {
            return Ok(None);
        };
        if registry.blocked {
            return Err(Error::Blocked {
                name: name.to_owned(),
                path: registry.file.clone(),
            });
        }
        let (host, path) = registry.located(name);
        let is_moved = name != format!("{host}/{path}");
        if registry.mirrors.is_empty() && !is_moved {
            // It says how to speak to the registry, which is asked for elsewhere, but not where.
            return Ok(None);
        }
        let file = Some(registry.file.as_path());
        let mut sites = Vec::new();
        let fitting = registry.mirrors.iter().filter(|mirror| match wanted {
            Wanted::Tag => mirror.tags,
            Wanted::Digest => mirror.digests,
            Wanted::Registry => false,
        });
        for mirror in fitting {
            let (host, path) = registry.mirrored(mirror, name);
            let insecure = mirror.insecure;
            sites.push(self.named((&host, &path), (Role::Mirror, insecure), file)?);
        }
        let insecure = registry.insecure;
        sites.push(self.named((&host, &path), (Role::Registry, insecure), file)?);
        Ok(Some(sites))
    }

    fn by_containerd(&self, domain: &str, path: &str, wanted: Wanted) -> Result<Option<Vec<Site>>> {
        let folder = self.folder(domain)?;
        let Some(hosts) = &folder.hosts else {
            return Ok(None);
        };
        let serves = |settings: &Settings| match wanted {
            Wanted::Tag => settings.serves.tags,
            Wanted::Digest => settings.serves.digests,
            Wanted::Registry => true,
        };
        let site = |host: &Host| -> Result<Site> {
            let mut site = self.addressed(&host.address, path, &host.settings)?;
            site.namespace = Some(domain.to_owned());
            site.told_by.push(hosts.file.clone());
            Ok(site)
        };
        let mut sites = Vec::new();
        for host in hosts.hosts.iter().filter(|host| serves(&host.settings)) {
            sites.push(site(host)?);
        }
        if let Some(server) = hosts.server.as_ref().filter(|host| serves(&host.settings)) {
            let mut server = site(server)?;
            server.role = Role::Registry;
            if self.api_host(domain) == server.host {
                server.host = domain.to_owned();
                server.namespace = None;
            }
            sites.push(server);
        } else if hosts.server.is_none() && serves(&hosts.own) {
            let mut itself = self.named((domain, path), (Role::Registry, None), None)?;
            itself.headers = hosts.own.headers.clone();
            itself.told_by.push(hosts.file.clone());
            sites.push(itself);
        }
        Ok(Some(sites))
    }

    /// A place that is known by its name.
    fn named(
        &self,
        (host, repository): (&str, &str),
        (role, insecure): (Role, Option<bool>),
        file: Option<&Path>,
    ) -> Result<Site> {
        let folder = self.folder(host)?;
        let mut tls = folder.tls.clone();
        let mut told_by: Vec<PathBuf> = file.map(Path::to_owned).into_iter().collect();
        let own = self.own_trust(host);
        let said = insecure.map(|insecure| match insecure {
            true => Trust::Lenient,
            false => Trust::Proven,
        });
        let trust = match own.or(said) {
            Some(trust) => Some(trust),
            None => self.trust_by_files(host, &mut told_by)?,
        };
        // Without a word about it, a certificate for a host means that it speaks TLS.
        let loopback = is_loopback(bare_host(host)) && folder.tls.is_default();
        let trust = trust.unwrap_or(if loopback {
            Trust::Plain
        } else {
            Trust::Proven
        });
        if matches!(trust, Trust::Unproven | Trust::Lenient) {
            tls.verify = Verify::No;
        }
        Ok(Site {
            host: host.to_owned(),
            speech: match trust {
                Trust::Proven | Trust::Unproven => Speech::Tls,
                Trust::Lenient => Speech::Either,
                Trust::Plain => Speech::Plain,
            },
            api: "/v2".to_owned(),
            repository: repository.to_owned(),
            tls: Arc::new(tls),
            headers: HeaderMap::new(),
            namespace: None,
            role,
            told_by,
        })
    }

    /// A mirror that is known by its address, which says whether TLS is spoken.
    fn addressed(&self, address: &Address, repository: &str, settings: &Settings) -> Result<Site> {
        let mut told_by = Vec::new();
        let mut tls = self.folder(&address.host)?.tls.clone();
        tls.add(settings_tls(settings)?);
        let insecure = match (self.own_trust(&address.host), settings.skip_verify) {
            (Some(own), _) => own != Trust::Proven,
            (None, Some(skip)) => skip,
            (None, None) => {
                let said = self.trust_by_files(&address.host, &mut told_by)?;
                said.is_some_and(|trust| trust != Trust::Proven)
            }
        };
        if insecure {
            tls.verify = Verify::No;
        }
        Ok(Site {
            host: address.host.clone(),
            speech: if address.secure {
                Speech::Tls
            } else {
                Speech::Plain
            },
            api: address.path.clone(),
            repository: repository.to_owned(),
            tls: Arc::new(tls),
            headers: settings.headers.clone(),
            namespace: None,
            role: Role::Mirror,
            told_by,
        })
    }

    /// How TLS is spoken with a host that a registry sends us to: what settings say that name it. Those for
    /// all registries add their authorities, but neither our certificate nor leave to do without a proof.
    ///
    /// Errors: [`Error::HostFile`].
    pub(crate) fn foreign_tls(&self, host: &str) -> Result<Tls> {
        let folder = self.folder(host)?;
        let mut tls = folder.tls.clone();
        let for_all = folder.hosts.as_ref().filter(|hosts| hosts.is_for_all());
        if let Some(hosts) = for_all {
            tls.identity = tls.identity.filter(|identity| !hosts.shows(identity));
        }
        let trust = match self.own_trust(host) {
            Some(trust) => Some(trust),
            None => self
                .trust_by_files(host, &mut Vec::new())?
                .filter(|trust| for_all.is_none() || *trust != Trust::Unproven),
        };
        if matches!(trust, Some(Trust::Unproven | Trust::Lenient)) {
            tls.verify = Verify::No;
        }
        Ok(tls)
    }

    /// Whether plain HTTP may be spoken to a host that a registry sends us to.
    pub(crate) fn allows_plain(&self, host: &str) -> bool {
        let said = match self.own_trust(host) {
            Some(trust) => Some(trust),
            None => self
                .trust_by_files(host, &mut Vec::new())
                .unwrap_or_default(),
        };
        matches!(said, Some(Trust::Plain | Trust::Lenient))
    }

    /// The name under which the API of a registry is reached.
    fn api_host<'h>(&self, domain: &'h str) -> &'h str {
        match domain {
            "docker.io" => "registry-1.docker.io",
            other => other,
        }
    }

    fn own_trust(&self, host: &str) -> Option<Trust> {
        match self.config.hosts.get(host)?.scheme {
            Scheme::Auto => None,
            Scheme::Https => Some(Trust::Proven),
            Scheme::Insecure => Some(Trust::Lenient),
            Scheme::InsecureHttp => Some(Trust::Plain),
        }
    }

    /// What the files say of a host itself, and in which of them.
    fn trust_by_files(&self, host: &str, told_by: &mut Vec<PathBuf>) -> Result<Option<Trust>> {
        if let Some(registry) = self.podman.find(host)
            && let Some(insecure) = registry.insecure
        {
            told_by.push(registry.file.clone());
            return Ok(Some(match insecure {
                true => Trust::Lenient,
                false => Trust::Proven,
            }));
        }
        if let Some(hosts) = &self.folder(host)?.hosts {
            let is_own = |server: &Host| server.address.host == host;
            let about_itself = hosts.server.as_ref().is_none_or(is_own);
            if let Some(skip) = hosts.own.skip_verify.filter(|_| about_itself) {
                told_by.push(hosts.file.clone());
                return Ok(Some(match skip {
                    true => Trust::Unproven,
                    false => Trust::Proven,
                }));
            }
        }
        if self.daemon.names(host) || self.is_in_network(host) {
            told_by.push(self.daemon_file.clone());
            return Ok(Some(Trust::Lenient));
        }
        Ok(None)
    }

    /// Whether a name leads into one of Docker's networks without TLS. A name that cannot be looked up
    /// does not.
    fn is_in_network(&self, host: &str) -> bool {
        let bare = bare_host(host);
        if self.daemon.networks.is_empty() || bare.parse::<IpAddr>().is_ok() {
            return false;
        }
        let known = |map: &Mutex<BTreeMap<String, bool>>| {
            let map = map.lock().unwrap_or_else(PoisonError::into_inner);
            map.get(bare).copied()
        };
        if let Some(known) = known(&self.in_network) {
            return known;
        }
        let found = (bare, ANY_PORT).to_socket_addrs();
        let inside = found.is_ok_and(|mut found| found.any(|at| self.daemon.holds(at.ip())));
        let mut map = self
            .in_network
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        map.insert(bare.to_owned(), inside);
        inside
    }

    fn folder(&self, host: &str) -> Result<Arc<Folder>> {
        let known = |host| {
            let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
            folders.get(host).cloned()
        };
        if let Some(known) = known(host) {
            return Ok(known);
        }
        let folder = Arc::new(read_folders(&self.config.host_files, host)?);
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.insert(host.to_owned(), Arc::clone(&folder));
        Ok(folder)
    }
}

fn registries(files: &HostFiles) -> Result<Registries> {
    let mut registries = Registries::default();
    for file in &files.podman.registries {
        if let Some(text) = read_text(file)? {
            registries.add(&text, file)?;
            break;
        }
    }
    for dir in &files.podman.drop_ins {
        for name in list(dir)?.iter().filter(|name| name.ends_with(".conf")) {
            let file = dir.join(name);
            if let Some(text) = read_text(&file)? {
                registries.add(&text, &file)?;
            }
        }
    }
    Ok(registries)
}

fn daemon(files: &HostFiles) -> Result<(Daemon, PathBuf)> {
    for file in &files.docker.daemon {
        if let Some(text) = read_text(file)? {
            let daemon = Daemon::parse(&text).map_err(|reason| broken(file, reason))?;
            return Ok((daemon, file.clone()));
        }
    }
    Ok((Daemon::default(), PathBuf::new()))
}

fn read_folders(files: &HostFiles, host: &str) -> Result<Folder> {
    let mut folder = Folder::default();
    // Names come from references and from redirects; only plain ones are names of folders.
    if host.is_empty() || host.starts_with('.') || host.contains('/') {
        return Ok(folder);
    }
    for dir in &files.podman.certificates {
        folder.tls.add(certs::read_folder(&dir.join(host))?);
    }
    for root in &files.containerd {
        if folder.hosts.is_none() {
            folder.hosts = hosts_file(root, host)?;
        }
    }
    match &folder.hosts {
        Some(hosts) => folder.tls.add(settings_tls(&hosts.own)?),
        None => {
            for root in &files.containerd {
                folder.tls.add(certs::read_folder(&root.join(host))?);
            }
        }
    }
    for dir in &files.docker.certificates {
        folder.tls.add(certs::read_folder(&dir.join(host))?);
    }
    Ok(folder)
}

fn hosts_file(root: &Path, host: &str) -> Result<Option<HostsFile>> {
    for name in [host, DEFAULT] {
        let file = root.join(name).join("hosts.toml");
        if let Some(text) = read_text(&file)? {
            return HostsFile::parse(&text, &file).map(Some);
        }
    }
    Ok(None)
}

fn settings_tls(settings: &Settings) -> Result<Tls> {
    let mut tls = Tls::default();
    for root in &settings.roots {
        if !root.exists() {
            return Err(broken(root, "a hosts.toml names it, and it is not there"));
        }
        tls.add(certs::root(root)?);
    }
    if let Some((certificate, key)) = settings.clients.first() {
        tls.identity = certs::identity(certificate, key.as_deref())?;
    }
    Ok(tls)
}

#[cfg(test)]
mod tests;
