//! Why a step was not found in the cache: told as it begins, and kept for `rbuild explain`.
//!
//! `run` is what is kept of a build; `history` keeps it. `difference` and `files` tell two keys apart,
//! `answer` and `carried` are what `rbuild explain` asks for. `nearest` chooses the earlier step to compare with, `words` says it, `recorder` listens to the solver.
//! A build in which everything is found writes nothing here.

mod answer;
mod carried;
mod difference;
mod files;
mod history;
mod nearest;
mod recorder;
mod run;
mod words;

pub use answer::{Compared, ComparedStep, difference_lines, reason_lines, steps_named};
pub use carried::CarriedRun;
pub use difference::{Change, Difference};
pub use files::{FileChange, FileChanges, FileFate};
pub(crate) use recorder::{Given, OtherMachines, Recorder};
pub use run::{How, Reason, Run, RunStep};
