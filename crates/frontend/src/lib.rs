//! Dockerfile tree to DAG: stages, scopes, expansion, one file per instruction family.
//!
//! [`lower`] is a function of its arguments: it reads no file, clock or environment. What it lacks
//! it asks for by answering [`Lowering::Need`]; the caller finds the answers, adds them to
//! [`Known`], and calls again, until it gets [`Lowering::Done`] with a [`Plan`].
//!
//! ```
//! use rbuild_frontend::{Known, LowerRequest, Lowering, lower};
//! use rbuild_oci::Platform;
//!
//! let parsed = rbuild_dockerfile::parse("FROM scratch\nCOPY hello /\nCMD [\"/hello\"]\n");
//! let request = LowerRequest::new(Platform::new("linux", "amd64"));
//! let Ok(Lowering::Done(plan)) = lower(&parsed.dockerfile, &request, &Known::new()) else {
//!     panic!("nothing is wrong and no image is needed");
//! };
//! assert_eq!(plan.graph.len(), 2);
//! assert_eq!(plan.results[0].history[0].created_by, "COPY hello / # buildkit");
//! ```

mod build;
mod circle;
mod diagnostic;
mod epoch;
mod expand;
mod go_text;
mod lint;
mod lower;
mod named;
mod need;
mod params;
mod path;
mod plan;
mod remote;
mod request;
mod scope;
mod stage;
mod state;
mod step_name;
mod suggest;
mod trigger;

pub use diagnostic::{Code, Diagnostic};
pub use epoch::epoch_source;
pub use lower::{Linting, context_graph, lint, lower};
pub use need::{ImageAnswer, ImagePlace, ImageQuestion, Known, Lowering, Question};
pub use params::{Access, Parameter, TargetOutline};
pub use plan::{BaseImage, HISTORY_COMMENT, HistoryItem, Plan, PlanResult};
pub use rbuild_dockerfile::Severity;
pub use remote::{GitRef, Remote};
pub use request::{Entitlements, Extent, LowerRequest, NamedContext, NoCache, RemoteTree};
