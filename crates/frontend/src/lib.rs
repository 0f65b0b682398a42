//! Dockerfile tree to DAG: stages, scopes, expansion, one file per instruction family.
//!
//! [`lower`] is a function of its arguments: it reads no file, clock or environment. What it lacks
//! it asks for by answering [`Lowering::Need`]; the caller finds the answers, adds them to
//! [`Known`], and calls again, until it gets [`Lowering::Done`] with a [`Plan`].

mod diagnostic;
mod need;
mod plan;
mod request;

pub use diagnostic::{Code, Diagnostic};
pub use need::{ImageAnswer, ImagePlace, ImageQuestion, Known, Lowering, Question};
pub use plan::{BaseImage, HISTORY_COMMENT, HistoryItem, Plan, PlanResult};
pub use rbuild_dockerfile::Severity;
pub use request::{Entitlements, LowerRequest, NamedContext, NoCache};
