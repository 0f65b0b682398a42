//! `rbuild doctor`.

use std::io;
use std::path::PathBuf;

use rbuild::{DoctorFinding, Health, PlaceHealth, PlaceTrust, Step};
use serde_json::{Value, json};

use super::login::settings;
use super::{CommandResult, print};
use crate::args::DoctorArgs;
use crate::exit::Exit;
use crate::render::clean;
use crate::signal;
use crate::style::{Look, Role, Symbols};

/// Width of the first column.
const LABEL: usize = 12;

/// Tries a registry or an image everywhere, and says what came of it; ends with 1 if nothing serves it.
pub fn run(args: &DoctorArgs) -> CommandResult {
    let cancel = signal::listen(|| {}).map_err(anyhow::Error::from)?;
    let health = rbuild::doctor(&settings()?, &args.patient, &cancel)?;
    match args.json {
        true => print(&format!("{:#}\n", as_json(&health)))?,
        false => print(&text(&health, Look::of(&io::stdout())))?,
    };
    Ok(match health.is_good() {
        true => Exit::Success,
        false => Exit::Failed,
    })
}

fn text(health: &Health, look: Look) -> String {
    let places: Vec<String> = health.places.iter().map(|one| place(one, look)).collect();
    let verdict = match health.is_good() {
        true => look.paint(Role::Good, "Good: a build gets what it asks for."),
        false => look.paint(Role::Bad, "Bad: a build gets nothing from here."),
    };
    format!("{}\n{verdict}\n", places.join("\n"))
}

fn place(place: &PlaceHealth, look: Look) -> String {
    let mut out = format!("{}\n", look.paint(Role::Title, &clean(&place.address)));
    let mut row = |role, mark: &str, label: &str, text: &str| {
        let mark = look.paint(role, mark);
        out.push_str(&format!("  {mark} {label:LABEL$}{}\n", clean(text)));
    };
    let (good, bad) = match look.symbols {
        Symbols::Unicode => ("✔", "✘"),
        Symbols::Ascii => ("+", "x"),
    };
    let what = match place.is_mirror {
        true => "mirror",
        false => "the registry itself",
    };
    let what = match place.told_by.as_slice() {
        [] => what.to_owned(),
        files => format!("{what}, as {} says", listed(files)),
    };
    row(Role::Dim, " ", "place", &what);
    row(Role::Dim, " ", "trust", &trust(&place.trust));
    if let Some(proxy) = &place.proxy {
        row(Role::Dim, " ", "proxy", proxy);
    }
    for finding in &place.findings {
        let (role, mark) = match finding.is_good {
            true => (Role::Good, good),
            false => (Role::Bad, bad),
        };
        row(role, mark, label(finding), &finding.text);
        if let Some(help) = finding.help.as_ref().filter(|help| !help.is_empty()) {
            row(Role::Help, " ", "help", help);
        }
    }
    out
}

fn label(finding: &DoctorFinding) -> &'static str {
    match finding.step {
        Step::Name => "name",
        Step::Answer => "answer",
        Step::Credential => "credential",
        Step::Login => "login",
        Step::Image => "image",
    }
}

fn trust(trust: &PlaceTrust) -> String {
    match trust {
        PlaceTrust::Plain => "plain HTTP: nothing is proven".to_owned(),
        PlaceTrust::Unproven => "TLS without a proof, as settings say".to_owned(),
        PlaceTrust::Proven {
            authorities,
            certificate,
        } => {
            let mut text = "TLS, the system's authorities".to_owned();
            if !authorities.is_empty() {
                text.push_str(&format!(" and {}", listed(authorities)));
            }
            if let Some(certificate) = certificate {
                text.push_str(&format!("; shown is {}", certificate.display()));
            }
            text
        }
    }
}

fn listed(files: &[PathBuf]) -> String {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    names.join(", ")
}

fn as_json(health: &Health) -> Value {
    let places = health.places.iter().map(|place| {
        let (kind, authorities, certificate) = match &place.trust {
            PlaceTrust::Plain => ("plain", &[][..], None),
            PlaceTrust::Unproven => ("unproven", &[][..], None),
            PlaceTrust::Proven {
                authorities,
                certificate,
            } => ("proven", &authorities[..], certificate.as_ref()),
        };
        let findings = place.findings.iter().map(|finding| {
            json!({
                "step": label(finding),
                "good": finding.is_good,
                "text": finding.text,
                "help": finding.help,
            })
        });
        json!({
            "address": place.address,
            "mirror": place.is_mirror,
            "toldBy": place.told_by,
            "proxy": place.proxy,
            "trust": { "kind": kind, "authorities": authorities, "certificate": certificate },
            "findings": findings.collect::<Vec<_>>(),
            "good": place.is_good(),
        })
    });
    json!({ "good": health.is_good(), "places": places.collect::<Vec<_>>() })
}
