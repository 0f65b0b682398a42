//! Warnings on their way to the user: named by rule, less those that the Dockerfile skips, and
//! errors if it asks for that.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::check::CheckOptions;
use rbuild_dockerfile::{Code, LineRange, Parsed};
use rbuild_progress::{Event, Sink, WarningNote};

use crate::places::Places;
use crate::rule::Rule;
use crate::{BuildError, Result};

/// The build argument that stands for the `check` directive.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Tells of the warnings of one build.
pub(crate) struct Warnings<'a> {
    options: CheckOptions,
    places: &'a Places,
    sink: &'a dyn Sink,
    broken: BTreeSet<&'static str>,
}

impl<'a> Warnings<'a> {
    /// Reads what the file, or instead of it the build argument, says about checks.
    ///
    /// Errors: it says something that is no option.
    pub(crate) fn new(
        parsed: &Parsed,
        build_args: &BTreeMap<String, String>,
        (places, sink): (&'a Places, &'a dyn Sink),
    ) -> Result<Warnings<'a>> {
        let argument = build_args.get(ARGUMENT).map(String::as_str);
        let directive = || parsed.dockerfile.directives.check_options();
        let text = argument.or_else(directive).unwrap_or_default();
        let options = CheckOptions::parse(text).map_err(|e| BuildError::build(e.to_string()))?;
        Ok(Warnings {
            options,
            places,
            sink,
            broken: BTreeSet::new(),
        })
    }

    /// Tells of what the parser found.
    pub(crate) fn of_parser(&mut self, parsed: &Parsed) {
        for found in &parsed.diagnostics {
            // What the parser words at length is one of BuildKit's rules with a shorter text.
            let message = match found.code {
                Code::EmptyContinuation => "Empty continuation line",
                _ => &found.message,
            };
            self.warn(found.code.as_str(), message, found.lines);
        }
    }

    /// Tells of what the frontend found.
    pub(crate) fn of_frontend(&mut self, found: &[rbuild_frontend::Diagnostic]) {
        for warning in found {
            let span = warning.spans.first();
            let lines = span.map(|span| self.places.lines_of(*span));
            let code = warning.code.as_str();
            self.warn(code, &warning.message, lines.unwrap_or_default());
        }
    }

    /// Fails if there was a warning and the file wants none.
    pub(crate) fn finish(self) -> Result<()> {
        if !self.options.error || self.broken.is_empty() {
            return Ok(());
        }
        let rules: Vec<&str> = self.broken.into_iter().collect();
        Err(BuildError::build(format!(
            "lint violation found for rules: {}",
            rules.join(", ")
        )))
    }

    fn warn(&mut self, code: &'static str, message: &str, lines: LineRange) {
        if self.options.skip.contains(code) {
            return;
        }
        self.broken.insert(code);
        let rule = Rule::named(code);
        self.sink.send(Event::Warning(WarningNote {
            vertex: None,
            short: format!("{code}: {message}"),
            detail: rule.iter().map(|rule| rule.reason.to_owned()).collect(),
            url: rule.and_then(Rule::url),
            file: Some(self.places.file_name().to_owned()),
            line: (lines.first > 0).then_some(lines.first),
            end_line: (lines.first > 0).then_some(lines.last),
        }));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rbuild_progress::CollectSink;

    use super::*;

    const BODY: &str = "FROM scratch\nLABEL a=b \\\n\n  c=d\n";

    /// The warnings of a text, and how it ends.
    fn found(head: &str, argument: Option<&str>) -> (Vec<WarningNote>, Result<()>) {
        let text = format!("{head}{BODY}");
        let (places, sink) = (Places::new("Dockerfile", &text), CollectSink::new());
        let parsed = rbuild_dockerfile::parse(&text);
        let argument = argument.map(|value| (ARGUMENT.to_owned(), value.to_owned()));
        let ended = Warnings::new(&parsed, &argument.into_iter().collect(), (&places, &sink))
            .and_then(|mut warnings| {
                warnings.of_parser(&parsed);
                warnings.finish()
            });
        let notes = sink.take().into_iter().filter_map(|event| match event {
            Event::Warning(note) => Some(note),
            _ => None,
        });
        (notes.collect(), ended)
    }

    #[test]
    fn warnings_name_their_rule_and_its_page() {
        let (notes, ended) = found("", None);
        ended.unwrap();
        assert_eq!(notes.len(), 1);
        let note = &notes[0];
        assert_eq!(note.short, "NoEmptyContinuation: Empty continuation line");
        let page = "https://docs.docker.com/go/dockerfile/rule/no-empty-continuation/";
        assert_eq!(note.url.as_deref(), Some(page));
        assert_eq!((note.detail.len(), note.line), (1, Some(4)));
    }

    #[test]
    fn rules_may_be_skipped_and_may_be_errors() {
        let skip = "# check=skip=NoEmptyContinuation;error=true\n";
        for (head, argument, count, message) in [
            (skip, None, 0, ""),
            ("# check=skip=all\n", None, 0, ""),
            ("# check=skip=Other\n", None, 1, ""),
            ("", Some("skip=all"), 0, ""),
            (skip, Some("error=false"), 1, ""),
            (
                "# check=error=true\n",
                None,
                1,
                "lint violation found for rules: NoEmptyContinuation",
            ),
            (
                "# check=nonsense\n",
                None,
                0,
                "failed to parse check options: invalid check option \"nonsense\"",
            ),
        ] {
            let (notes, ended) = found(head, argument);
            let got = ended.err().map(|e| e.to_string()).unwrap_or_default();
            assert_eq!(
                (notes.len(), got.as_str()),
                (count, message),
                "{head}{argument:?}"
            );
        }
    }
}
