//! Trying every place that serves a repository, and saying what each step came to.

use std::path::PathBuf;

use rbuild_oci::Reference;
use rbuild_progress::CancelToken;
use reqwest::StatusCode;

use crate::auth::Access;
use crate::challenge::Challenge;
use crate::client::{Client, Inner, Place};
use crate::config::Reach;
use crate::credential::Credential;
use crate::endpoint::{Endpoint, Standby, authority};
use crate::failure::words_of;
use crate::hosts::{Role, Verify, Wanted};
use crate::transport::Call;
use crate::{Error, Result, without_credentials};

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patient {
    /// A registry, by the name that references have for it.
    Registry(String),
    /// An image in one.
    Image(Reference),
}

/// A place that was tried.
#[derive(Debug)]
pub struct PlaceReport {
    /// Address of the API.
    pub address: String,
    /// Whether it stands before the registry itself.
    pub is_mirror: bool,
    /// The settings that led to it, without those with certificates.
    pub told_by: Vec<PathBuf>,
    /// The proxy in between, without its password.
    pub proxy: Option<String>,
    /// Whom we trust there.
    pub trust: PlaceTrust,
    /// What was tried, in order; the first failure ends it.
    pub checks: Vec<Check>,
}

/// Whom we trust at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceTrust {
    /// Everybody: there is no TLS.
    Plain,
    /// Everybody: settings say that TLS is enough.
    Unproven,
    /// Those whom an authority vouches for.
    Proven {
        /// Files with authorities beside the system's.
        authorities: Vec<PathBuf>,
        /// The file with the certificate that we show.
        certificate: Option<PathBuf>,
    },
}

/// One step, and what it came to.
#[derive(Debug)]
pub struct Check {
    /// What was tried.
    pub step: Step,
    /// In words; nothing secret.
    pub outcome: Result<String>,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Looking up the host's name.
    Name,
    /// Asking the registry's API whether it is there.
    Answer,
    /// Looking for a credential.
    Credential,
    /// Having the registry check it.
    Login,
    /// Asking for the image.
    Image,
}

impl PlaceReport {
    /// Whether everything worked.
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.outcome.is_ok())
    }
}

impl Client {
    /// Tries every place that serves a registry or an image, whether or not an earlier one works.
    ///
    /// Errors: the settings make no sense or forbid it; [`Error::Cancelled`]. What goes wrong at a
    /// place is in its report.
    pub fn examine(&self, patient: &Patient, cancel: &CancelToken) -> Result<Vec<PlaceReport>> {
        self.wait(cancel, async {
            let (name, wanted) = match patient {
                Patient::Registry(host) => ((host.as_str(), ""), Wanted::Tag),
                Patient::Image(reference) => {
                    let wanted = match reference.digest() {
                        Some(_) => Wanted::Digest,
                        None => Wanted::Tag,
                    };
                    ((reference.domain(), reference.path()), wanted)
                }
            };
            if self.inner.config.reach == Reach::Offline {
                let host = name.0.to_owned();
                return Err(Error::Offline { host });
            }
            let mut reports: Vec<PlaceReport> = Vec::new();
            for endpoint in self.inner.endpoints_of(name, wanted).await? {
                let before = reports.last().map(PlaceReport::is_good);
                if endpoint.standby == Standby::Yes && before == Some(true) {
                    continue;
                }
                reports.push(self.inner.examine(&endpoint, patient, cancel).await?);
            }
            Ok(reports)
        })
    }
}

impl Inner {
    async fn examine(
        &self,
        endpoint: &Endpoint,
        patient: &Patient,
        cancel: &CancelToken,
    ) -> Result<PlaceReport> {
        let url = endpoint.url("")?;
        let proxy = self.config.proxy.of_url(&url);
        let mut report = PlaceReport {
            address: url.to_string(),
            is_mirror: endpoint.role == Role::Mirror,
            told_by: endpoint.told_by.clone(),
            proxy: proxy.as_deref().map(without_credentials),
            trust: trust(endpoint),
            checks: Vec::new(),
        };
        if proxy.is_none() && !report.note(Step::Name, look_up(endpoint).await)? {
            return Ok(report);
        }
        let (answer, challenged) = split(self.ask(endpoint).await);
        if !report.note(Step::Answer, answer)? {
            return Ok(report);
        }
        let (found, credential) = split(self.credential(endpoint, cancel).await);
        if !report.note(Step::Credential, found)? {
            return Ok(report);
        }
        if let (Some(Some(Credential::Password { username, password })), Some(true)) =
            (&credential, challenged)
        {
            let checked = self.check_login(endpoint, (username, password)).await;
            let said = checked.map(|_| format!("accepts {username}"));
            if !report.note(Step::Login, said)? {
                return Ok(report);
            }
        }
        if let Patient::Image(reference) = patient {
            let place = Place {
                endpoint,
                reference,
                access: Access::Pull,
                cancel,
            };
            let found = self.get_manifest(&place).await.map(|found| {
                let descriptor = found.descriptor;
                format!("{} {}", descriptor.media_type, descriptor.digest)
            });
            report.note(Step::Image, found)?;
        }
        Ok(report)
    }

    /// What the API says, and whether it wants a login.
    async fn ask(&self, endpoint: &Endpoint) -> Result<(String, bool)> {
        let call = Call::get(endpoint, endpoint.url("")?);
        let response = self.transport.send(&call).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(("there, and wants no login".to_owned(), false));
        }
        if status == StatusCode::UNAUTHORIZED {
            return Ok(match Challenge::of(response.headers()) {
                Some(Challenge::Basic) => {
                    ("there, and wants user name and password".to_owned(), true)
                }
                Some(Challenge::Bearer { realm, .. }) => {
                    let realm = without_credentials(&realm);
                    (format!("there, and wants a token of {realm}"), true)
                }
                None => (
                    "there, and wants a login that it does not name".to_owned(),
                    false,
                ),
            });
        }
        Err(Error::Status {
            host: authority(response.url()),
            status: status.as_u16(),
            message: words_of(response).await,
        })
    }

    async fn credential(
        &self,
        endpoint: &Endpoint,
        cancel: &CancelToken,
    ) -> Result<(String, Option<Credential>)> {
        let source = self.config.credentials.clone();
        let (host, repository) = (endpoint.host.clone(), endpoint.repository.clone());
        let cancel = cancel.clone();
        let lookup =
            tokio::task::spawn_blocking(move || source.locate(&host, &repository, &cancel));
        let host = endpoint.host.clone();
        let found = lookup.await.map_err(|source| Error::Setup {
            reason: "look up credentials",
            source: Box::new(source),
        })?;
        let found = found.map_err(|source| Error::Credentials { host, source })?;
        Ok(match found {
            None => ("none, so nobody in particular asks".to_owned(), None),
            Some((credential, origin)) => {
                let what = match &credential {
                    Credential::Password { username, .. } => format!("{username}, from {origin}"),
                    Credential::IdentityToken(_) => format!("an identity token, from {origin}"),
                    Credential::RegistryToken(_) => format!("a registry token, from {origin}"),
                };
                (what, Some(credential))
            }
        })
    }
}

impl PlaceReport {
    /// Notes what a step came to; whether it is worth going on. Errors: it was cancelled.
    fn note(&mut self, step: Step, outcome: Result<String>) -> Result<bool> {
        match outcome {
            Err(error) if error.is_cancelled() => Err(error),
            outcome => {
                let goes_on = outcome.is_ok();
                self.checks.push(Check { step, outcome });
                Ok(goes_on)
            }
        }
    }
}

fn split<T>(outcome: Result<(String, T)>) -> (Result<String>, Option<T>) {
    match outcome {
        Ok((text, value)) => (Ok(text), Some(value)),
        Err(error) => (Err(error), None),
    }
}

fn trust(endpoint: &Endpoint) -> PlaceTrust {
    let tls = &endpoint.tls;
    match (endpoint.is_secure(), tls.verify) {
        (false, _) => PlaceTrust::Plain,
        (true, Verify::No) => PlaceTrust::Unproven,
        (true, Verify::Yes) => PlaceTrust::Proven {
            authorities: tls.root_files.clone(),
            certificate: tls.identity.as_ref().map(|identity| identity.file.clone()),
        },
    }
}

/// The addresses that a host's name stands for.
async fn look_up(endpoint: &Endpoint) -> Result<String> {
    let url = endpoint.url("")?;
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    let found = tokio::net::lookup_host((bare, port)).await;
    let found = found.map_err(|source| Error::Unreachable {
        host: authority(&url),
        source: Box::new(source),
    })?;
    let mut addresses: Vec<String> = found.map(|address| address.ip().to_string()).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses.join(", "))
}
