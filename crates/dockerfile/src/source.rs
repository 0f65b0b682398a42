//! The text of a Dockerfile and places in it: byte spans, line ranges, line and column.
//!
//! What the text means lives elsewhere; this module only answers "where".

use std::borrow::Cow;

/// The largest Dockerfile that is read, in bytes; anything longer is refused with a diagnostic.
pub const MAX_FILE_BYTES: usize = 16 << 20;

/// A half-open byte range in the text of a Dockerfile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset just past the last byte; never before `start`.
    pub end: u32,
}

impl Span {
    /// Makes a span; an `end` before `start` is raised to `start`.
    pub fn new(start: u32, end: u32) -> Span {
        Span {
            start,
            end: end.max(start),
        }
    }

    /// Returns the number of bytes covered.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Says whether nothing is covered.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Returns the smallest span that covers both.
    pub fn join(self, other: Span) -> Span {
        Span::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// Returns the text under the span, empty when the span does not fit `text`.
    pub fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// A range of physical lines, 1-based, both ends included; line 0 means "no place known".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct LineRange {
    /// The first line.
    pub first: u32,
    /// The last line; never before `first`.
    pub last: u32,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place in the file.
    pub span: Span,
}

/// A line and column, both 1-based; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character in the line.
    pub column: u32,
}

/// A file's name and text, with an index of its lines for messages.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: String,
    text: String,
    line_starts: Vec<u32>,
}

impl SourceFile {
    /// Indexes `text`; `name` is what messages call it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> SourceFile {
        let text = text.into();
        let mut line_starts = vec![0];
        line_starts.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX)),
        );
        SourceFile {
            name: name.into(),
            text,
            line_starts,
        }
    }

    /// Returns the file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the number of lines; the empty string after a final newline counts as one.
    pub fn line_count(&self) -> u32 {
        u32::try_from(self.line_starts.len()).unwrap_or(u32::MAX)
    }

    /// Returns the 1-based line that holds `offset`; past the end, the last line.
    pub fn line_of(&self, offset: u32) -> u32 {
        let after = self.line_starts.partition_point(|start| *start <= offset);
        u32::try_from(after.max(1)).unwrap_or(u32::MAX)
    }

    /// Returns the line and column of `offset`.
    pub fn position(&self, offset: u32) -> Position {
        let line = self.line_of(offset);
        let start = self.line_span(line).start;
        let before = Span::new(start, offset).of(&self.text);
        let column = u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX);
        Position { line, column }
    }

    /// Returns the lines that `span` touches.
    pub fn lines_of(&self, span: Span) -> LineRange {
        let last_byte = if span.is_empty() {
            span.start
        } else {
            span.end - 1
        };
        LineRange {
            first: self.line_of(span.start),
            last: self.line_of(last_byte),
        }
    }

    /// Returns the span of a 1-based line, its terminator included; empty when there is no such line.
    pub fn line_span(&self, line: u32) -> Span {
        let at = line.saturating_sub(1) as usize;
        let text_end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        match self.line_starts.get(at) {
            Some(start) if line > 0 => {
                let end = self.line_starts.get(at + 1).copied().unwrap_or(text_end);
                Span::new(*start, end)
            }
            _ => Span::new(text_end, text_end),
        }
    }

    /// Returns the text of a 1-based line without its terminator.
    pub fn line_text(&self, line: u32) -> &str {
        self.line_span(line)
            .of(&self.text)
            .trim_end_matches(['\n', '\r'])
    }
}

/// Reads the bytes of a Dockerfile as text.
///
/// BuildKit takes any bytes; here each invalid UTF-8 sequence becomes U+FFFD, as it would in the
/// image configuration. Spans count bytes of the returned text.
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
