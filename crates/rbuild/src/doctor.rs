//! What stands between this machine and a registry, and what to do about it. Needs no store.

use std::path::PathBuf;

use rbuild_oci::Reference;
use rbuild_progress::CancelToken;
use rbuild_registry::{Client, Patient, PlaceReport, PlaceTrust, Step};

use crate::engine::client_config;
use crate::login::registry_name;
use crate::nursery::chain;
use crate::{EngineConfig, Result, remedy};

/// How a registry does, seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Every place that was tried, in the order in which a build would ask.
    pub places: Vec<PlaceHealth>,
}

/// How a place does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceHealth {
    /// Address of the API.
    pub address: String,
    /// Whether it stands before the registry itself.
    pub is_mirror: bool,
    /// The settings that led to it.
    pub told_by: Vec<PathBuf>,
    /// The proxy in between, without its password.
    pub proxy: Option<String>,
    /// Whom we trust there.
    pub trust: PlaceTrust,
    /// What was found, in order.
    pub findings: Vec<Finding>,
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was tried.
    pub step: Step,
    /// Whether it worked.
    pub is_good: bool,
    /// What came of it.
    pub text: String,
    /// What to do, if there is something.
    pub help: Option<String>,
}

impl Health {
    /// Whether a build would get what it asks for: one of the places does well.
    pub fn is_good(&self) -> bool {
        self.places.iter().any(PlaceHealth::is_good)
    }
}

impl PlaceHealth {
    /// Whether everything worked.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.is_good)
    }
}

/// Reads what to look at: a registry if it is one by itself, else an image. `NAME:5000` without a dot is an
/// image with a tag, as in a Dockerfile; `NAME:5000/` is a registry.
///
/// Errors: a text that says what is wrong.
pub fn patient(text: &str) -> Result<Patient, String> {
    let is_host = |name: &str| name.contains('.') || name.starts_with("localhost");
    let is_address = text.ends_with('/') || text.contains("://");
    if let Some(name) = registry_name(text).filter(|name| is_address || is_host(name)) {
        return Ok(Patient::Registry(name));
    }
    let image = text.strip_prefix("docker://").unwrap_or(text);
    let reference = Reference::parse(image).map_err(|error| error.to_string())?;
    Ok(Patient::Image(reference))
}

/// Tries every place that serves a registry or an image.
///
/// Errors: settings or credential files make no sense; cancelled. What goes wrong at a place is a
/// finding.
pub fn doctor(config: &EngineConfig, patient: &Patient, cancel: &CancelToken) -> Result<Health> {
    let client = Client::new(client_config(config)?);
    let reports = client.examine(patient, cancel)?;
    Ok(Health {
        places: reports.into_iter().map(place).collect(),
    })
}

fn place(report: PlaceReport) -> PlaceHealth {
    let findings = report.checks.into_iter().map(|check| match check.outcome {
        Ok(text) => Finding {
            step: check.step,
            is_good: true,
            text,
            help: None,
        },
        Err(error) => Finding {
            step: check.step,
            is_good: false,
            text: chain(&error),
            help: advice(check.step, &error),
        },
    });
    PlaceHealth {
        findings: findings.collect(),
        address: report.address,
        is_mirror: report.is_mirror,
        told_by: report.told_by,
        proxy: report.proxy,
        trust: report.trust,
    }
}

/// What to do about a step that failed.
fn advice(step: Step, error: &rbuild_registry::Error) -> Option<String> {
    let network = match (step, error) {
        (Step::Name, _) => {
            "is the name right? Behind a proxy HTTPS_PROXY names it, and looks names up"
        }
        (
            _,
            rbuild_registry::Error::Unreachable { .. } | rbuild_registry::Error::Stalled { .. },
        ) => {
            "is it up? If a firewall stands in between, HTTPS_PROXY or HTTP_PROXY names a way around it"
        }
        _ => {
            let help = remedy::of_registry(error)?;
            // Nobody is sent to where they are.
            let parts = help
                .split("; ")
                .filter(|part| !part.contains("rbuild doctor"));
            return Some(parts.collect::<Vec<_>>().join("; ")).filter(|help| !help.is_empty());
        }
    };
    Some(network.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_told_from_images() {
        let registry = |name: &str| Ok(Patient::Registry(name.to_owned()));
        let image = |name: &str| Ok(Patient::Image(Reference::parse(name).unwrap()));
        assert_eq!(patient("docker.io"), registry("docker.io"));
        assert_eq!(
            patient("https://r.example:5000/v2/"),
            registry("r.example:5000")
        );
        assert_eq!(patient("localhost:5000"), registry("localhost:5000"));
        assert_eq!(patient("lan:5000/"), registry("lan:5000"));
        assert_eq!(patient("debian"), image("docker.io/library/debian"));
        assert_eq!(patient("debian:12"), image("docker.io/library/debian:12"));
        assert_eq!(patient("docker://r.example/a:1"), image("r.example/a:1"));
        assert_eq!(patient("r.example/a/b"), image("r.example/a/b"));
        assert!(patient("A B").is_err());
    }
}
