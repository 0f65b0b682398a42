//! `RUN --device`: there is no registry of devices here, so none that is asked for is ever found.

use rbuild_dockerfile::Dockerfile;
use rbuild_dockerfile::instruction::RunInstruction;
use rbuild_oci::Reference;

use super::Outcome;
use super::stage::StageCx;
use crate::stage::Command;
use crate::{Code, Diagnostic, LowerRequest};

/// The build argument that takes the place of the `syntax` directive.
const SYNTAX: &str = "BUILDKIT_SYNTAX";
/// Since which version the language with experiments has devices.
const SINCE: (u32, u32) = (1, 14);

/// Refuses devices as BuildKit does without any: the language without experiments has no such flag,
/// and in the other a required device must be there. What a step can do without is left out.
pub(super) fn check(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    run: &RunInstruction,
) -> Outcome {
    let Some(first) = run.devices.first() else {
        return Ok(());
    };
    if !has_devices(stage.round.dockerfile, stage.round.request) {
        let message =
            "device feature is only supported in Dockerfile frontend 1.14.0-labs or later";
        let help = "This rbuild gives no devices to steps. Remove --device, or begin the file with \
                    `# syntax=docker/dockerfile:1-labs`: the step then runs without devices that are not required.";
        let found = Diagnostic::error(Code::NoDevice, command.span, message);
        return Err(found
            .pointing(stage.mark(command, &first.raw))
            .with_help(help));
    }
    if let Some(device) = run.devices.iter().find(|device| device.required) {
        let message = format!(
            "failed to load LLB: required device {:?} is not registered",
            device.name
        );
        let help = "This rbuild gives no devices to steps. Drop `required` if the step can do without, or \
                    do this work in a container that is run after the build.";
        let found = Diagnostic::error(Code::NoDevice, command.span, message);
        return Err(found
            .pointing(stage.mark(command, &device.raw))
            .with_help(help));
    }
    for device in &run.devices {
        let message = format!(
            "Optional device \"{}\" is not registered, the step runs without it",
            device.name
        );
        let help =
            "This rbuild gives no devices to steps. Add `,required` if the step cannot do without.";
        let word = Some(&device.raw);
        stage.warn(command, (Code::DeviceLeftOut, message), (word, help));
    }
    Ok(())
}

/// Whether the language that the file, or the build argument instead of it, asks for has devices.
fn has_devices(dockerfile: &Dockerfile, request: &LowerRequest) -> bool {
    let argument = request.build_args.get(SYNTAX).map(String::as_str);
    let wanted = argument.or_else(|| dockerfile.directives.syntax_reference());
    let reference = wanted.and_then(|text| Reference::parse(text).ok());
    let tag = reference.as_ref().and_then(|reference| reference.tag());
    tag.is_some_and(tag_has_devices)
}

/// `labs`, `1-labs`, `1.14-labs`, `1.20.1-labs` and `master-labs` have, `1.13-labs` and `1` have not.
fn tag_has_devices(tag: &str) -> bool {
    let Some(version) = tag.strip_suffix("labs") else {
        return false;
    };
    let mut numbers = version.trim_end_matches('-').split('.');
    let mut number = || numbers.next().and_then(|text| text.parse::<u32>().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) => (major, minor) >= SINCE,
        (Some(major), None) => major >= SINCE.0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::tag_has_devices;

    #[test]
    fn languages_with_experiments_have_devices_from_one_version_on() {
        for tag in [
            "labs",
            "1-labs",
            "1.14-labs",
            "1.14.0-labs",
            "2.0-labs",
            "master-labs",
        ] {
            assert!(tag_has_devices(tag), "{tag}");
        }
        for tag in ["1", "1.14", "1.13-labs", "1.3.0-labs", "0-labs", "latest"] {
            assert!(!tag_has_devices(tag), "{tag}");
        }
    }
}
