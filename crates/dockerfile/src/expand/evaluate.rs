//! Walks the pieces of a word and puts the result together.

use std::collections::BTreeSet;

use super::pattern::Pattern;
use super::{ExpandCause, Expanded, MAX_EXPANSION_BYTES};
use crate::word::{
    Braces, Operator, Piece, Reading, Substitution, SyntaxFault, Unset, Variable, pieces,
};

/// A cause, and whether the whole word had been read when it was found: inside an operand that
/// means the operand is not closed, which is what BuildKit reports then.
struct Fault {
    cause: ExpandCause,
    at_end: bool,
}

struct Evaluation<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    skip_unset: bool,
    length: usize,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

/// Text on its way, and its words so far.
#[derive(Default)]
struct Words {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Words {
    fn push_raw(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn push_split(&mut self, text: &str) {
        self.text.push_str(text);
        let mut rest = text;
        while let Some(blank) = rest.find(char::is_whitespace) {
            self.word.push_str(&rest[..blank]);
            self.end_word();
            rest = rest[blank..].trim_start();
        }
        self.word.push_str(rest);
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

/// Expands a word; see [`super::expand`].
pub(super) fn evaluate(
    word: &str,
    reading: Reading,
    env: &dyn Fn(&str) -> Option<String>,
    skip_unset: bool,
) -> Result<Expanded, ExpandCause> {
    let mut evaluation = Evaluation {
        env,
        skip_unset,
        length: word.len(),
        matched: BTreeSet::new(),
        unmatched: BTreeSet::new(),
    };
    let mut out = Words::default();
    for piece in &pieces(word, reading) {
        evaluation
            .top(piece, &mut out)
            .map_err(|fault| fault.cause)?;
    }
    out.end_word();
    Ok(Expanded {
        text: out.text,
        words: out.words,
        matched: evaluation.matched,
        unmatched: evaluation.unmatched,
    })
}

impl Evaluation<'_> {
    /// Evaluates a piece outside all quotes and operands, where blanks split words.
    fn top(&mut self, piece: &Piece, out: &mut Words) -> Result<(), Fault> {
        match piece {
            Piece::Plain { text, .. } => out.push_split(text),
            Piece::Variable(variable) => out.push_split(&self.variable(variable)?),
            Piece::Raw { .. } | Piece::Quoted { .. } | Piece::Invalid { .. } => {
                let mut text = String::new();
                self.piece(piece, &mut text)?;
                out.push_raw(&text);
            }
        }
        self.check_size(out.text.len())
    }

    fn check_size(&self, length: usize) -> Result<(), Fault> {
        if length <= MAX_EXPANSION_BYTES || length <= self.length {
            return Ok(());
        }
        Err(Fault {
            cause: ExpandCause::TooLarge,
            at_end: false,
        })
    }

    fn piece(&mut self, piece: &Piece, out: &mut String) -> Result<(), Fault> {
        match piece {
            Piece::Plain { text, .. } | Piece::Raw { text, .. } => out.push_str(text),
            Piece::Quoted { pieces, .. } => self.all(pieces, out)?,
            Piece::Variable(variable) => out.push_str(&self.variable(variable)?),
            Piece::Invalid { fault, at } => {
                return Err(Fault {
                    cause: fault.clone().into(),
                    at_end: at.end == self.length,
                });
            }
        }
        self.check_size(out.len())
    }

    fn all(&mut self, pieces: &[Piece], out: &mut String) -> Result<(), Fault> {
        pieces.iter().try_for_each(|piece| self.piece(piece, out))
    }

    /// Evaluates an operand; a fault at the very end is reported as `missing` instead.
    fn operand(&mut self, pieces: &[Piece], missing: SyntaxFault) -> Result<String, Fault> {
        let mut text = String::new();
        match self.all(pieces, &mut text) {
            Ok(()) => Ok(text),
            Err(fault) if fault.at_end => Err(Fault {
                cause: missing.into(),
                at_end: true,
            }),
            Err(fault) => Err(fault),
        }
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = (self.env)(name);
        let names = match value {
            Some(_) => &mut self.matched,
            None => &mut self.unmatched,
        };
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
        value
    }

    fn variable(&mut self, variable: &Variable) -> Result<String, Fault> {
        let name = &variable.name;
        let skip = self.skip_unset;
        match &variable.braces {
            Braces::Absent => Ok(match self.lookup(name) {
                None if skip => format!("${name}"),
                value => value.unwrap_or_default(),
            }),
            Braces::Plain => Ok(match self.lookup(name) {
                None if skip => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Braces::Operator(found) => self.substitute(variable, found),
        }
    }

    fn substitute(&mut self, variable: &Variable, found: &Substitution) -> Result<String, Fault> {
        let name = &variable.name;
        let replaces = matches!(
            found.operator,
            Operator::ReplaceFirst | Operator::ReplaceAll
        );
        let missing = match replaces {
            true => SyntaxFault::MissingSlash,
            false => SyntaxFault::MissingBrace,
        };
        let operand = self.operand(&found.operand, missing)?;
        let replacement = self.operand(&found.replacement, SyntaxFault::MissingBrace)?;
        let value = self.lookup(name);
        if self.skip_unset && value.is_none() {
            let modifier = &found.modifier;
            return Ok(match replaces {
                true => format!("${{{name}/{operand}/{replacement}}}"),
                false => format!("${{{name}{modifier}{operand}}}"),
            });
        }
        apply(name, found, value, operand, &replacement).map_err(|cause| Fault {
            cause,
            at_end: variable.at.end == self.length,
        })
    }
}

/// Says whether an operator with this notion of "unset" sees the value as unset.
fn is_unset(value: Option<&str>, unset: Unset) -> bool {
    match (value, unset) {
        (None, _) => true,
        (Some(text), Unset::MissingOrEmpty) => text.is_empty(),
        (Some(_), Unset::Missing) => false,
    }
}

/// Applies an operator to a value.
fn apply(
    name: &str,
    found: &Substitution,
    value: Option<String>,
    operand: String,
    replacement: &str,
) -> Result<String, ExpandCause> {
    match found.operator {
        Operator::Default(unset) if is_unset(value.as_deref(), unset) => Ok(operand),
        Operator::Alternate(unset) if is_unset(value.as_deref(), unset) => Ok(String::new()),
        Operator::Alternate(_) => Ok(operand),
        Operator::Require(unset) if is_unset(value.as_deref(), unset) => {
            let standard = match value {
                None => "is not allowed to be unset",
                Some(_) => "is not allowed to be empty",
            };
            let message = match operand.is_empty() {
                true => standard.to_owned(),
                false => operand,
            };
            let name = name.to_owned();
            Err(ExpandCause::Required { name, message })
        }
        Operator::Default(_) | Operator::Require(_) => Ok(value.unwrap_or_default()),
        Operator::TrimPrefix => {
            Pattern::for_prefix(&operand)?.trim_prefix(&value.unwrap_or_default())
        }
        Operator::TrimSuffix => {
            Pattern::for_suffix(&operand)?.trim_suffix(&value.unwrap_or_default())
        }
        Operator::ReplaceFirst => {
            Pattern::to_replace(&operand)?.replace_first(&value.unwrap_or_default(), replacement)
        }
        Operator::ReplaceAll => {
            Pattern::to_replace(&operand)?.replace_all(&value.unwrap_or_default(), replacement)
        }
        Operator::Unsupported => {
            Err(SyntaxFault::UnsupportedModifier(found.modifier.clone()).into())
        }
    }
}
