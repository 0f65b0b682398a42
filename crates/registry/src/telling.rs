//! A blob on its way, for callers that want a number and know no events.

use std::sync::mpsc::{Sender, channel};

use rbuild_oci::{Descriptor, Reference};
use rbuild_progress::{CancelToken, Cancelled, Event, Sink, VertexKey};
use rbuild_store::Store;

use crate::Result;
use crate::client::Client;
use crate::fetch::FetchContext;

impl Client {
    /// As [`Client::fetch_blob`]; `progress` hears on this thread how many bytes came so far.
    ///
    /// Errors: as there.
    pub fn fetch_telling(
        &self,
        (reference, descriptor): (&Reference, &Descriptor),
        store: &Store,
        progress: &dyn Fn(u64),
        cancel: &CancelToken,
    ) -> Result<()> {
        let (sender, bytes) = channel();
        // The callback may stay on this thread only, so the transfer gets one of its own.
        std::thread::scope(|scope| {
            let transfer = scope.spawn(|| {
                let sink = Forward { sender };
                let vertex = VertexKey::new(descriptor.digest.to_string());
                let cx = FetchContext {
                    store,
                    sink: &sink,
                    vertex: &vertex,
                    cancel,
                };
                self.fetch_blob(reference, descriptor, &cx)
            });
            for current in bytes {
                progress(current);
            }
            transfer.join().unwrap_or_else(|_| Err(Cancelled.into()))
        })
    }
}

/// Hands the byte counts of a transfer on.
struct Forward {
    sender: Sender<u64>,
}

impl Sink for Forward {
    fn send(&self, event: Event) {
        if let Event::Status(status) = event {
            // Nobody listens any more when the transfer is over.
            let _ = self.sender.send(status.current);
        }
    }
}
