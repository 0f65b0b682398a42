//! Findings of the rules, from the parser and from lowering, in one form and in BuildKit's order.

use rbuild_dockerfile::check::CheckOptions;
use rbuild_dockerfile::{Code, LineRange, Parsed, Span};

use crate::places::Places;
use crate::rule::{Rule, Standing};

/// One finding, wherever it was made.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The rule.
    pub(crate) rule: &'static Rule,
    /// What is wrong, in BuildKit's words where the rule is BuildKit's.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: Option<String>,
    /// The lines of the instruction; first line 0 when no place is to blame.
    pub(crate) lines: LineRange,
    /// The bytes to point at, if they are known more exactly.
    pub(crate) span: Option<Span>,
}

/// What the parser found.
pub(crate) fn of_parser(parsed: &Parsed) -> Vec<Found> {
    let lines = parsed.diagnostics.iter().filter(|found| !found.is_error());
    let found = lines.chain(&parsed.lint).filter_map(|found| {
        // What the parser words at length is one of BuildKit's rules with a shorter text.
        let message = match found.code {
            Code::EmptyContinuation => "Empty continuation line",
            _ => &found.message,
        };
        Some(Found {
            rule: Rule::named(found.code.as_str())?,
            message: message.to_owned(),
            help: found.help.clone(),
            lines: found.lines,
            span: Some(found.span),
        })
    });
    found.collect()
}

/// What lowering found, errors left out.
pub(crate) fn of_frontend(places: &Places, found: &[rbuild_frontend::Diagnostic]) -> Vec<Found> {
    let warnings = found.iter().filter(|found| !found.is_error());
    let found = warnings.filter_map(|found| {
        let span = found.spans.first();
        let lines = span.map(|span| places.lines_of(*span));
        Some(Found {
            rule: Rule::named(found.code.as_str())?,
            message: found.message.clone(),
            help: found.help.clone(),
            lines: lines.unwrap_or_default(),
            span: found.mark,
        })
    });
    found.collect()
}

/// Whether the file, or the build argument that stands for its directive, wants to hear of a rule.
///
/// Experimental rules must be asked for, and are not skipped then, as in BuildKit.
pub(crate) fn is_wanted(options: &CheckOptions, rule: &Rule) -> bool {
    match rule.standing {
        Standing::Experimental => options.experimental.contains(rule.name),
        Standing::Usual | Standing::Own => !options.skip.contains(rule.name),
    }
}

/// The error that takes the place of findings where the file, or the build argument, asks for it.
///
/// Rules that BuildKit lacks do not count: what builds there must build here.
pub(crate) fn violation(options: &CheckOptions, found: &[Found]) -> Option<String> {
    let mut rules: Vec<&str> = Vec::new();
    for found in found {
        if found.rule.standing != Standing::Own && !rules.contains(&found.rule.name) {
            rules.push(found.rule.name);
        }
    }
    let fails = options.error && !rules.is_empty();
    fails.then(|| format!("lint violation found for rules: {}", rules.join(", ")))
}
