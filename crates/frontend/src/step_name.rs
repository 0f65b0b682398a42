//! Names of steps for progress: `[stage i/n] INSTR text`.

use rbuild_oci::Platform;

use crate::expand::{Lexer, expand};
use crate::scope::Scope;

/// Counts the steps of one stage and words their names.
#[derive(Debug, Clone)]
pub(crate) struct StepNames {
    /// Number of steps; with 0 nothing is put in front.
    pub(crate) total: usize,
    /// The stage, unless the file has no other.
    pub(crate) stage: Option<String>,
    /// Whether the platform is shown, because several are built.
    pub(crate) platforms: PlatformPrefix,
    /// Steps named so far.
    pub(crate) done: usize,
}

/// Whether names of steps show the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlatformPrefix {
    /// Several platforms are built.
    Shown,
    /// Only one is.
    Hidden,
}

impl StepNames {
    /// The name of the next step.
    pub(crate) fn next(&mut self, text: &str, platform: &Platform, scope: &Scope) -> String {
        if self.total == 0 {
            return text.to_owned();
        }
        self.done += 1;
        let mut prefix = String::new();
        if self.platforms == PlatformPrefix::Shown {
            prefix = format!("{platform}{} ", cross_suffix(platform, scope));
        }
        if let Some(stage) = &self.stage {
            prefix.push_str(stage);
            prefix.push(' ');
        }
        let width = self.total.ilog10() as usize + 1;
        format!("[{prefix}{:>width$}/{}] {text}", self.done, self.total)
    }
}

/// An instruction as names of steps show it: keyword in upper case, known variables expanded.
///
/// A text that cannot be expanded is shown as it was written.
pub(crate) fn instruction_text(code: &str, lexer: Lexer, scope: &Scope) -> String {
    let expanded = expand(code, lexer, scope);
    let text = expanded.map_or_else(|_| code.to_owned(), |done| done.text);
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

/// `->arm64` where the stage's TARGET variables name another platform than it runs on.
fn cross_suffix(platform: &Platform, scope: &Scope) -> String {
    let Some(target) = target_of(platform, scope) else {
        return String::new();
    };
    if target.os != platform.os {
        return format!("->{target}");
    }
    if target.architecture == platform.architecture {
        return String::new();
    }
    match &target.variant {
        Some(variant) => format!("->{}/{variant}", target.architecture),
        None => format!("->{}", target.architecture),
    }
}

fn target_of(platform: &Platform, scope: &Scope) -> Option<Platform> {
    if let Some(text) = scope.get("TARGETPLATFORM")
        && let Ok(target) = Platform::parse(text)
    {
        return Some(target);
    }
    let part = |name| scope.get(name).filter(|value: &&str| !value.is_empty());
    let (os, architecture) = (part("TARGETOS"), part("TARGETARCH"));
    os.or(architecture)?;
    let mut target = Platform {
        os: os.unwrap_or(&platform.os).to_owned(),
        architecture: architecture.unwrap_or(&platform.architecture).to_owned(),
        ..Platform::default()
    };
    target.variant = part("TARGETVARIANT").map(str::to_owned);
    Some(target.normalized())
}
