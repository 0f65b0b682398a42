//! ARG: build arguments with optional defaults.

use super::Request;
use crate::diagnostic::Fault;
use crate::word::Word;

/// `ARG name[=default] ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgInstruction {
    /// The arguments in order; never empty.
    pub args: Vec<ArgPair>,
}

/// One argument of ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgPair {
    /// The name; never empty, never expanded.
    pub key: Word,
    /// The default, unexpanded; `None` without `=`.
    pub value: Option<Word>,
    /// The description from the comment above (`# NAME text`).
    pub doc: Option<String>,
}

/// Reads ARG; flags are ignored, as BuildKit does.
///
/// Grammar: dockerfile.ebnf#arg
pub(super) fn arg(request: &mut Request) -> Result<ArgInstruction, Fault> {
    let words = request.take_words();
    if words.is_empty() {
        return Err(request.no_arguments());
    }
    let mut args = Vec::with_capacity(words.len());
    for word in words {
        let (key, value) = match word.text.find('=') {
            None => (word, None),
            Some(0) => return Err(request.blank_name(&word)),
            Some(equals) => {
                let part =
                    |at: std::ops::Range<usize>| Word::new(&word.text[at.clone()], word.place(&at));
                let value = part(equals + 1..word.text.len());
                (part(0..equals), Some(value))
            }
        };
        let doc = request.header.description(&key.text);
        args.push(ArgPair { key, value, doc });
    }
    Ok(ArgInstruction { args })
}
