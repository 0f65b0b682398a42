//! What a running build says and hears: events, sinks, cancellation.
//!
//! A build reports through exactly one [`Sink`], handed down as `&dyn Sink`; nothing here prints. It
//! listens to exactly one [`CancelToken`], handed down beside the sink. The four kinds of [`Event`]
//! are BuildKit's (vertex, status, log, warning), so that any of its clients can be served from them.
//! Events name their vertex by its printed digest only, which lets every other crate use this one
//! while it needs none of them.
//!
//! ```
//! use rbuild_progress::{CancelToken, CollectSink, Meter, VertexKey};
//!
//! let (sink, cancel) = (CollectSink::new(), CancelToken::new());
//! let vertex = VertexKey::new("sha256:00");
//! let meter = Meter::new(&sink, &vertex, "sending tarball", Some(3));
//! for _ in 0..3 {
//!     cancel.check()?;
//!     meter.add(1);
//! }
//! meter.finish();
//! assert_eq!(sink.take().len(), 2);
//! # Ok::<(), rbuild_progress::Cancelled>(())
//! ```

mod backlog;
mod cancel;
mod event;
mod meter;
mod sink;

pub use backlog::Backlog;
pub use cancel::{CancelReader, CancelToken, Cancelled};
pub use event::{
    Event, LogChunk, MissNote, StatusUpdate, Stream, VertexKey, VertexUpdate, WarningNote,
};
pub use meter::Meter;
pub use sink::{ChannelSink, CollectSink, NullSink, Sink, channel, channel_of};
