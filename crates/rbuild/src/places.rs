//! From findings of the parser and the frontend to reports with places in the Dockerfile.

use rbuild_dockerfile::{Diagnostic, LineRange, Parsed, SourceFile, Span};
use rbuild_frontend::Severity;

use crate::report::Excerpt;
use crate::{BuildError, Result};

/// The Dockerfile as messages need it.
pub(crate) struct Places {
    file: SourceFile,
}

impl Places {
    /// `name` is what messages call the file.
    pub(crate) fn new(name: &str, text: &str) -> Places {
        Places {
            file: SourceFile::new(name, text),
        }
    }

    /// One excerpt for each run of lines.
    pub(crate) fn excerpts(&self, spans: &[Span]) -> Vec<Excerpt> {
        let mut excerpts: Vec<Excerpt> = Vec::new();
        for span in spans {
            let lines = self.file.lines_of(*span);
            let excerpt = self.excerpt(lines, Some(*span));
            let known = |e: &Excerpt| (e.first_line, e.last_line) == (lines.first, lines.last);
            if !excerpts.iter().any(known) {
                excerpts.push(excerpt);
            }
        }
        excerpts
    }

    fn excerpt(&self, lines: LineRange, span: Option<Span>) -> Excerpt {
        Excerpt {
            file: self.file.name().to_owned(),
            text: self.file.text().to_owned(),
            first_line: lines.first,
            last_line: lines.last,
            span: span.map(|span| span.start as usize..span.end as usize),
            label: None,
        }
    }

    /// Fails with the first error of the parser, if there is one.
    pub(crate) fn check_parsed(&self, parsed: &Parsed) -> Result<()> {
        match parsed.first_error() {
            Some(first) => Err(self.parse_error(first, parsed)),
            None => Ok(()),
        }
    }

    /// The error that BuildKit would stop at, and after it the places of all others.
    fn parse_error(&self, first: &Diagnostic, parsed: &Parsed) -> BuildError {
        let others = parsed
            .diagnostics
            .iter()
            .filter(|found| found.is_error() && *found != first);
        let mut error = BuildError::build(first.full_message());
        let mut excerpts = Vec::new();
        for (at, found) in std::iter::once(first).chain(others).enumerate() {
            if found.lines.first > 0 {
                let span = (!found.span.is_empty()).then_some(found.span);
                let mut excerpt = self.excerpt(found.lines, span);
                // The message says what is wrong at the first place only.
                excerpt.label = (at > 0).then(|| found.message.clone());
                excerpts.push(excerpt);
            }
            if at > 0 {
                error = error.help(format!(
                    "line {} has a mistake, too: {}",
                    found.lines.first, found.message
                ));
            } else if let Some(help) = &found.help {
                error = error.help(help.clone());
            }
        }
        error.at(excerpts)
    }

    /// The error of the frontend's findings: the first error, with all of its places.
    pub(crate) fn lowering_error(&self, found: &[rbuild_frontend::Diagnostic]) -> BuildError {
        let mut errors = found.iter().filter(|d| d.severity == Severity::Error);
        let Some(first) = errors.next() else {
            return BuildError::build("the Dockerfile cannot be built");
        };
        let mut error = BuildError::build(&first.message).at(self.excerpts(&first.spans));
        if let Some(help) = &first.help {
            error = error.help(help.clone());
        }
        let more: Vec<String> = errors.map(|d| self.one_line(d)).collect();
        if more.is_empty() {
            return error;
        }
        error.help(format!("there is more to mend: {}", more.join("; ")))
    }

    fn one_line(&self, found: &rbuild_frontend::Diagnostic) -> String {
        match found.spans.first() {
            Some(span) => format!(
                "{}:{}: {}",
                self.file.name(),
                self.file.line_of(span.start),
                found.message
            ),
            None => found.message.clone(),
        }
    }

    /// What messages call the file.
    pub(crate) fn file_name(&self) -> &str {
        self.file.name()
    }

    /// The lines of a place.
    pub(crate) fn lines_of(&self, span: Span) -> LineRange {
        self.file.lines_of(span)
    }
}
