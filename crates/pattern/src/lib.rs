//! Path patterns: COPY and ADD wildcards ([`Glob`]), `.dockerignore` files ([`IgnoreSet`]), and the
//! lists given to `--exclude` and `--parents` ([`IncludeSet`]).
//!
//! Everything here is a pure function of texts: no file is opened and no directory read. Paths are
//! bytes relative to the root of the context, with `/` between components, without a leading or
//! trailing one. Each pattern runs as an automaton, so matching takes time proportional to pattern
//! length times path length whatever the pattern is.
//!
//! ```
//! use rbuild_pattern::{IgnoreSet, Verdict};
//! let set = IgnoreSet::parse("# logs\n*.log\n!keep.log\n")?;
//! assert_eq!(set.verdict("keep.log"), Verdict::Included);
//! let hidden = Verdict::Excluded { index: 0, line: 2, text: "*.log" };
//! assert_eq!(set.verdict("a.log"), hidden);
//! # Ok::<(), rbuild_pattern::Error>(())
//! ```

mod class;
mod clean;
mod error;
mod glob;
mod ignore;
mod include;
mod pattern;
mod program;
mod rules;
mod walk;

pub use error::{Error, Result};
pub use glob::Glob;
pub use ignore::{IgnoreSet, Verdict};
pub use include::IncludeSet;
pub use walk::{EntryKind, Step};
