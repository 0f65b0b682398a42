//! Warnings on their way to the user: named by rule, less those that the Dockerfile skips, and
//! errors if it asks for that.

use std::collections::BTreeMap;

use rbuild_dockerfile::check::CheckOptions;
use rbuild_dockerfile::{Parsed, Span};
use rbuild_progress::{Event, Sink, WarningNote};

use crate::lint::{self, Found};
use crate::places::Places;
use crate::rule::Rule;
use crate::wishes::Wishes;
use crate::{BuildError, Result};

/// The build argument that stands for the `check` directive.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What the build argument, or without it the directive, says about checks; empty if neither does.
pub(crate) fn options_text<'a>(
    parsed: &'a Parsed,
    build_args: &'a BTreeMap<String, String>,
) -> &'a str {
    let argument = build_args.get(ARGUMENT).map(String::as_str);
    let directive = || parsed.dockerfile.directives.check_options();
    argument.or_else(directive).unwrap_or_default()
}

/// Where the directive stands, unless the build argument takes its place.
pub(crate) fn directive_place(
    parsed: &Parsed,
    build_args: &BTreeMap<String, String>,
) -> Option<Span> {
    let directive = parsed.dockerfile.directives.check.as_ref()?;
    (!build_args.contains_key(ARGUMENT)).then_some(directive.span)
}

/// Tells of the warnings of one build.
pub(crate) struct Warnings<'a> {
    wishes: Wishes,
    /// Where the directive stands, if the options come from there.
    directive: Option<Span>,
    places: &'a Places,
    sink: &'a dyn Sink,
    told: Vec<Found>,
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
        let text = options_text(parsed, build_args);
        let wishes = Wishes::read(parsed, text).map_err(|e| BuildError::build(e.to_string()))?;
        Ok(Warnings {
            wishes,
            directive: directive_place(parsed, build_args),
            places,
            sink,
            told: Vec::new(),
        })
    }

    /// The Dockerfile as messages need it.
    pub(crate) fn places(&self) -> &'a Places {
        self.places
    }

    /// Tells of what the parser found, and of rules that the file names and nobody has.
    pub(crate) fn of_parser(&mut self, parsed: &Parsed) {
        self.tell(lint::of_parser(parsed));
        self.tell(self.wishes.misspelt(self.directive, self.places));
    }

    /// Tells of what the frontend found.
    pub(crate) fn of_frontend(&mut self, found: &[rbuild_frontend::Diagnostic]) {
        let mut found = lint::of_frontend(self.places, found);
        // In a build the step itself looks, and tells of every unknown name.
        found.retain(|found| found.rule.name != "UnknownOwner");
        self.tell(found);
    }

    /// Fails if there was a warning and the file wants none; returns what it says about checks.
    pub(crate) fn finish(self) -> Result<CheckOptions> {
        match lint::violation(&self.wishes.options, &self.told) {
            Some(message) => Err(BuildError::build(message)),
            None => Ok(self.wishes.options),
        }
    }

    fn tell(&mut self, found: Vec<Found>) {
        for found in found {
            if self.wishes.want(&found) {
                self.sink.send(Event::Warning(self.note(&found)));
                self.told.push(found);
            }
        }
    }

    fn note(&self, found: &Found) -> WarningNote {
        let known = found.lines.first > 0;
        let detail = std::iter::once(found.rule.reason.to_owned());
        WarningNote {
            vertex: None,
            short: format!("{}: {}", found.rule.name, found.message),
            detail: detail.chain(found.help.clone()).collect(),
            url: found.rule.url(),
            file: Some(self.places.file_name().to_owned()),
            line: known.then_some(found.lines.first),
            end_line: known.then_some(found.lines.last),
        }
    }
}

/// Passes on what steps say, less their warnings about rules that the file skips.
pub(crate) struct Heeding<'a> {
    /// What the file says about checks.
    pub(crate) options: &'a CheckOptions,
    /// Who hears the rest.
    pub(crate) sink: &'a dyn Sink,
}

impl Sink for Heeding<'_> {
    fn send(&self, event: Event) {
        let rule = match &event {
            Event::Warning(note) => note.short.split(':').next().and_then(Rule::named),
            _ => None,
        };
        if rule.is_none_or(|rule| lint::is_wanted(self.options, rule)) {
            self.sink.send(event);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rbuild_progress::CollectSink;

    use super::*;

    const BODY: &str = "FROM scratch\nLABEL a=b \\\n\n  c=d\n";

    /// The warnings of a text, and how it ends.
    fn found(head: &str, argument: Option<&str>) -> (Vec<WarningNote>, Result<CheckOptions>) {
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
        assert_eq!((note.detail.len(), note.line), (2, Some(4)));
    }

    #[test]
    fn steps_heed_what_the_file_skips() {
        let kept = |options: &str, short: &str| {
            let sink = CollectSink::new();
            let options = CheckOptions::parse(options).unwrap();
            let heeding = Heeding {
                options: &options,
                sink: &sink,
            };
            heeding.send(Event::Warning(WarningNote {
                vertex: None,
                short: short.to_owned(),
                detail: Vec::new(),
                url: None,
                file: None,
                line: None,
                end_line: None,
            }));
            !sink.take().is_empty()
        };
        assert!(kept("", "UnknownOwner: \"app\" is not there"));
        assert!(!kept(
            "skip=UnknownOwner",
            "UnknownOwner: \"app\" is not there"
        ));
        // What is no rule cannot be skipped.
        assert!(kept("skip=all", "SingleId: no subordinate ids"));
    }

    #[test]
    fn rules_may_be_skipped_and_may_be_errors() {
        let skip = "# check=skip=NoEmptyContinuation;error=true\n";
        for (head, argument, count, message) in [
            (skip, None, 0, ""),
            ("# check=skip=all\n", None, 0, ""),
            ("# check=skip=Other\n", None, 2, ""),
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
