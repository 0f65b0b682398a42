//! Dockerfile text to a spanned tree plus diagnostics; no meaning, no I/O.
//!
//! [`parse`] never fails and never panics: it gives the tree of everything that could be
//! understood and a list of [`Diagnostic`]s with BuildKit's own texts ([`Parsed`]). Variables stay
//! as they were written; [`expand`](mod@expand) evaluates them for whoever holds the values.
//!
//! ```
//! let parsed = rbuild_dockerfile::parse("FROM alpine\nRUN --network=none echo hi\n");
//! assert!(parsed.diagnostics.is_empty());
//! assert_eq!(parsed.dockerfile.stages[0].base.text, "alpine");
//! ```

mod argument;
pub mod ast;
pub mod check;
pub mod csv;
pub mod diagnostic;
mod directive;
pub mod duration;
pub mod expand;
mod flag;
pub mod heredoc;
mod input;
pub mod instruction;
pub mod json;
pub mod json_array;
pub mod keyword;
pub mod line;
mod lint;
mod node;
mod parse;
pub mod port;
pub mod print;
pub mod quote;
pub mod source;
pub mod suggest;
pub mod word;

pub use ast::{Directives, Dockerfile, Header, InlineFile, Instruction, Parsed, Stage};
pub use diagnostic::{Code, Diagnostic, Phase, Severity};
pub use instruction::InstructionKind;
pub use keyword::Keyword;
pub use node::Node;
pub use parse::{assemble, parse, parse_trigger};
pub use source::{LineRange, Position, SourceFile, Span, Spanned, decode};
pub use word::Word;
