//! Words of an instruction, unexpanded: the text, where it stands, and its variable pieces.

use crate::source::Span;

/// A piece of an instruction as written: quotes, escapes and variables still in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Word {
    /// The text with continuations joined. In flags, quotes and escapes are already removed.
    pub text: String,
    /// The bytes it came from; longer than `text` where a continuation or a quote was dropped.
    pub span: Span,
}

impl Word {
    /// Makes a word.
    pub fn new(text: impl Into<String>, span: Span) -> Word {
        Word {
            text: text.into(),
            span,
        }
    }

    /// Says whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
