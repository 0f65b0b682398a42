//! The text of one logical line and the way back to the file: a segment map.
//!
//! nom sees plain `&str` slices of [`Logical::text`]; a slice's own address says where in the
//! logical line it lies, and the segments say where in the file that is.

use crate::source::Span;
use crate::word::Word;

/// A run of logical text that was contiguous in the file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Offset in the logical text.
    at: usize,
    /// Offset in the file.
    origin: usize,
}

/// One logical line: the physical lines joined, continuation marks and comments left out.
#[derive(Debug, Default)]
pub(crate) struct Logical {
    text: String,
    segments: Vec<Segment>,
}

impl Logical {
    /// Forgets the line, keeps the memory for the next one.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.segments.clear();
    }

    /// Appends `piece`, which starts at byte `origin` of the file.
    pub(crate) fn push(&mut self, piece: &str, origin: usize) {
        self.segments.push(Segment {
            at: self.text.len(),
            origin,
        });
        self.text.push_str(piece);
    }

    /// Returns the joined text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Maps an offset in the logical text to the file.
    fn origin(&self, offset: usize) -> usize {
        let after = self
            .segments
            .partition_point(|segment| segment.at <= offset);
        match after.checked_sub(1).and_then(|ix| self.segments.get(ix)) {
            Some(segment) => segment.origin + (offset - segment.at),
            None => 0,
        }
    }

    /// Returns the span in the file of `part`, which must be a slice of [`Logical::text`].
    pub(crate) fn span_of(&self, part: &str) -> Span {
        let base = self.text.as_ptr() as usize;
        let start = (part.as_ptr() as usize)
            .saturating_sub(base)
            .min(self.text.len());
        let first = self.origin(start);
        let end = match part.len() {
            0 => first,
            // The end is the byte after the last one, which may lie in another segment than the
            // byte that follows in the logical text.
            len => self.origin(start + len - 1) + 1,
        };
        Span::new(narrow(first), narrow(end))
    }

    /// Returns `part`, a slice of the text, as a word.
    pub(crate) fn word(&self, part: &str) -> Word {
        Word::new(part, self.span_of(part))
    }
}

/// Offsets fit: files are refused beyond [`crate::source::MAX_FILE_BYTES`].
pub(crate) fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cross_continuations() {
        let mut logical = Logical::default();
        logical.push("RUN fo", 10);
        logical.push("o bar", 18);
        let foo = &logical.text()[4..7];
        assert_eq!(foo, "foo");
        assert_eq!(logical.span_of(foo), Span::new(14, 19));
        let bar = &logical.text()[8..];
        assert_eq!(logical.span_of(bar), Span::new(20, 23));
    }

    #[test]
    fn a_word_that_ends_a_segment_ends_there() {
        let mut logical = Logical::default();
        logical.push("RUN a", 0);
        logical.push(" b", 100);
        assert_eq!(logical.span_of(&logical.text()[4..5]), Span::new(4, 5));
    }
}
