//! Which variables are visible where: the global scope of FROM lines and the scope of a stage.
//!
//! Precedence is by order alone: whatever sets a name last, ENV or ARG, wins from there on.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::expand::ExpandError;
use rbuild_dockerfile::instruction::ArgPair;
use rbuild_dockerfile::{Dockerfile, InstructionKind, Span};
use rbuild_oci::Platform;

use crate::expand::{Lexer, expand};
use crate::params::GlobalArg;
use crate::{Code, Diagnostic, LowerRequest, Parameter};

/// Names and values in order of first setting, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    vars: Vec<(String, String)>,
}

impl Scope {
    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.vars
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Sets a name; a known one keeps its place.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.vars.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.vars.push((name.to_owned(), value.to_owned())),
        }
    }

    /// The same without a name.
    pub(crate) fn without(&self, name: &str) -> Scope {
        let others = self.vars.iter().filter(|(key, _)| key != name);
        Scope {
            vars: others.cloned().collect(),
        }
    }

    /// All names and values in order.
    pub(crate) fn vars(&self) -> &[(String, String)] {
        &self.vars
    }

    /// All names in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.vars.iter().map(|(name, _)| name.as_str())
    }
}

/// Arguments that steer the engine and never enter the environment of a stage.
pub(crate) const NON_ENV_ARGS: [&str; 2] =
    ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// The variables that FROM lines see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Globals {
    /// Automatic arguments, then those of the file, with their values.
    pub(crate) scope: Scope,
    /// The same without regard to build arguments: what the file alone says; `None` if that
    /// cannot be expanded.
    pub(crate) defaults: Option<Scope>,
    /// Names that the file declares, with or without a value.
    pub(crate) declared: Vec<String>,
    /// The same with all that there is to tell of them.
    pub(crate) args: BTreeMap<String, GlobalArg>,
}

/// Evaluates the arguments before the first FROM.
///
/// An argument that cannot be expanded is left out and reported.
pub(crate) fn globals(
    dockerfile: &Dockerfile,
    request: &LowerRequest,
    target: &Platform,
    errors: &mut Vec<Diagnostic>,
) -> Globals {
    let automatic = automatic(dockerfile, request, target);
    let mut globals = Globals {
        scope: Scope::default(),
        defaults: None,
        declared: Vec::new(),
        args: BTreeMap::new(),
    };
    let mut defaults = Scope::default();
    for (name, value) in &automatic {
        let given = request.build_args.get(*name);
        globals.scope.set(name, given.unwrap_or(value));
        defaults.set(name, value);
    }
    globals.defaults = Some(defaults);
    let lexer = Lexer::plain(dockerfile.directives.escape);
    for instruction in &dockerfile.meta_args {
        let InstructionKind::Arg(arg) = &instruction.kind else {
            continue;
        };
        for pair in &arg.args {
            let span = instruction.header.span;
            if let Err(error) = globals.declare(pair, span, (request, lexer)) {
                errors.push(expansion_error(span, &error));
            }
        }
    }
    globals
}

impl Globals {
    fn declare(
        &mut self,
        pair: &ArgPair,
        span: Span,
        (request, lexer): (&LowerRequest, Lexer),
    ) -> Result<(), ExpandError> {
        let name = pair.key.as_str();
        let default = pair.value.as_ref().map(|value| value.as_str());
        self.declared.push(name.to_owned());
        if let Some(default) = default
            && let Some(mut defaults) = self.defaults.take()
            && let Ok(value) = expand(default, lexer, &defaults)
        {
            defaults.set(name, &value.text);
            self.defaults = Some(defaults);
        }
        let mut needs = BTreeSet::new();
        let value = match (request.build_args.get(name), default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => {
                let done = expand(default, lexer, &self.scope)?;
                needs = done.used;
                Some(done.text)
            }
            (None, None) => None,
        };
        let parameter = Parameter {
            name: name.to_owned(),
            value: value.clone(),
            description: pair.doc.clone(),
            span,
        };
        let known = GlobalArg { parameter, needs };
        self.args.insert(name.to_owned(), known);
        if let Some(value) = value {
            self.scope.set(name, &value);
        }
        Ok(())
    }
}

/// An expansion that failed at `span`.
pub(crate) fn expansion_error(span: Span, error: &ExpandError) -> Diagnostic {
    Diagnostic::error(Code::Expansion, span, error.to_string())
}

/// The automatic arguments and their values.
///
/// Source: the Dockerfile reference, "Automatic platform ARGs in the global scope".
fn automatic(
    dockerfile: &Dockerfile,
    request: &LowerRequest,
    target: &Platform,
) -> Vec<(&'static str, String)> {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let build = &request.build_platform;
    let last_stage = || {
        dockerfile
            .stages
            .last()?
            .name
            .as_ref()
            .map(|n| n.text.clone())
    };
    let stage = request.target.clone().or_else(last_stage);
    vec![
        ("BUILDPLATFORM", build.to_string()),
        ("BUILDOS", build.os.clone()),
        ("BUILDOSVERSION", text(&build.os_version)),
        ("BUILDARCH", build.architecture.clone()),
        ("BUILDVARIANT", text(&build.variant)),
        ("TARGETPLATFORM", target.to_string()),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", text(&target.os_version)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", text(&target.variant)),
        ("TARGETSTAGE", stage.unwrap_or_else(|| "default".to_owned())),
    ]
}
