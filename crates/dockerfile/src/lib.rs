//! Dockerfile text to a spanned tree plus diagnostics; no meaning, no I/O.
//!
//! Parsing never fails and never panics: it gives the tree of everything that could be understood
//! ([`Parsed`]) and a list of [`Diagnostic`]s with BuildKit's own texts.

pub mod ast;
pub mod diagnostic;
pub mod expand;
mod input;
pub mod instruction;
pub mod json_array;
pub mod keyword;
pub mod line;
pub mod quote;
pub mod source;
mod suggest;
pub mod word;

pub use ast::{Directives, Dockerfile, Header, InlineFile, Instruction, Parsed, Stage};
pub use diagnostic::{Code, Diagnostic, Phase, Severity};
pub use instruction::InstructionKind;
pub use source::{LineRange, SourceFile, Span, Spanned, decode};
pub use word::Word;
