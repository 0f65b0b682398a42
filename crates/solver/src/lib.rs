//! Schedules the vertices of a graph in parallel, looks up and records the cache.
//!
//! The solver knows no file system, no process and no registry: what an op *does* is a [`Worker`],
//! what was done before is a [`CacheIndex`]. It decides in which order things happen, under which
//! keys results are found again, and that equal work is done once.
//!
//! # What happens to a vertex
//!
//! A vertex is taken up when all its inputs have results. A source (an image, a local directory, a
//! file in the network) is simply carried out. Any other vertex is *keyed*: first by its *chain key*, made of its op and the
//! identities of its inputs, then by its *content key*, in which inputs that are only read through
//! selected files count by the digest of these files. Either may find a record, and then the result
//! is loaded. If neither does, the vertex takes the work lock of its key, looks once more (another
//! process may have been faster), runs, and is recorded under both keys.
//!
//! # Identity
//!
//! What a result contributes to the keys of its consumers is its *identity*: normally its content
//! key, so that a rebuilt stage which yields the same files leaves everything above it in place.
//! Two results need more. A vertex that was run although a record might exist (`no_cache`) gets an
//! identity of its own, kept in its record, so that nothing made over the former result is found for
//! it. A linked copy is found without regard to its base, so its identity adds the base's.
//!
//! # What is left out
//!
//! Where the index may know results without those that they were made from (a cache elsewhere that holds part of a
//! build), the first miss is followed by a *survey*: all that was not looked at yet is keyed as far as that is
//! possible without making anything, a vertex that is to be made counting by the identity that it will have. What is
//! found needs only what it is stacked on, so whatever nothing else needs is announced and never begun. A record that
//! turns out to be of no use afterwards brings its inputs back.
//!
//! # Threads
//!
//! All state belongs to the calling thread. As long as everything is found in the cache it does all
//! the work itself; the first miss, or a source in the network, brings in a bounded pool whose threads are started on demand,
//! take tasks and send messages back. None outlives [`solve`].

mod announce;
mod attempt;
mod cache;
mod error;
mod inflight;
mod key;
mod keying;
mod mailbox;
mod note;
mod outcome;
mod plan;
mod pool;
mod schedule;
mod solve;
mod state;
mod survey;
mod witness;
mod worker;

pub use cache::{CacheError, CacheIndex, Record};
pub use error::SolveError;
pub use key::{CacheKey, Part};
pub use note::{InputNote, KeyInputs, NOTE_FORM, SourceNote, bare_address};
pub use outcome::{Origin, Solved};
pub use solve::{SolveRequest, solve};
pub use witness::{Cause, Hit, Miss, Witness};
pub use worker::{OpContext, Presence, Supplied, Worker};
