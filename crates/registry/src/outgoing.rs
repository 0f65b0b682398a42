//! A request's body that is read on another thread, and how much of it the network took.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

/// Pieces (of [`PIECE_BYTES`]) that may wait for the network before reading is held up.
const QUEUE: usize = 8;
/// Length of a piece, in bytes.
pub(crate) const PIECE_BYTES: usize = 128 * 1024;

/// Asks whoever reads for a part of the content.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Where it begins, in bytes.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) length: u64,
    /// Takes the pieces, in order; closed when they are not wanted any more.
    pub(crate) pieces: mpsc::Sender<io::Result<Bytes>>,
}

/// A part of some content, to be sent in one request; read anew for each attempt.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) asks: &'a dyn AskFor,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Hands questions to the thread that reads.
pub(crate) trait AskFor: Send + Sync {
    /// Hands it over; dropped if nobody reads any more, which ends the body early.
    fn ask(&self, ask: Ask);
}

/// What the network and whoever watches it share.
struct Shared {
    pieces: Option<mpsc::Receiver<io::Result<Bytes>>>,
    taken: u64,
    waker: Option<Waker>,
}

/// Sees how far a body got. Dropping it ends the body: there is an answer, or nobody waits for one.
#[must_use = "dropping it ends the body"]
pub(crate) struct Watch {
    shared: Arc<Mutex<Shared>>,
    length: u64,
}

struct Pieces {
    shared: Arc<Mutex<Shared>>,
    left: u64,
}

impl Part<'_> {
    /// Begins to read, and returns the body and how to watch it.
    pub(crate) fn open(&self) -> (reqwest::Body, Watch) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let shared = Arc::new(Mutex::new(Shared {
            pieces: Some(receiver),
            taken: 0,
            waker: None,
        }));
        self.asks.ask(Ask {
            offset: self.offset,
            length: self.length,
            pieces: sender,
        });
        let pieces = Pieces {
            shared: Arc::clone(&shared),
            left: self.length,
        };
        let watch = Watch {
            shared,
            length: self.length,
        };
        (reqwest::Body::wrap_stream(pieces), watch)
    }
}

impl Watch {
    /// Bytes that the network has taken.
    pub(crate) fn taken(&self) -> u64 {
        lock(&self.shared).taken
    }

    /// Whether it has taken everything.
    pub(crate) fn is_complete(&self) -> bool {
        self.taken() == self.length
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let waker = {
            let mut shared = lock(&self.shared);
            // Whoever reads is let go, even where the network takes nothing more.
            shared.pieces = None;
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let polled = {
            let mut shared = lock(&self.shared);
            let polled = match &mut shared.pieces {
                None => Poll::Ready(Some(Err(io::Error::other("the request is over")))),
                Some(pieces) => pieces.poll_recv(cx),
            };
            match &polled {
                Poll::Pending => shared.waker = Some(cx.waker().clone()),
                Poll::Ready(Some(Ok(piece))) => shared.taken += piece.len() as u64,
                Poll::Ready(_) => {}
            }
            polled
        };
        match &polled {
            Poll::Ready(Some(Ok(piece))) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
            }
            // A short body must not look like a whole one.
            Poll::Ready(None) => {
                let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the content ended early");
                return Poll::Ready(Some(Err(cut)));
            }
            _ => {}
        }
        polled
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    /// Keeps the last question.
    #[derive(Default)]
    struct Reader(Mutex<Option<Ask>>);

    impl AskFor for Reader {
        fn ask(&self, ask: Ask) {
            *self.0.lock().unwrap() = Some(ask);
        }
    }

    fn opened(length: u64) -> (Pieces, Watch, Ask) {
        let reader = Reader::default();
        let part = Part {
            asks: &reader,
            offset: 3,
            length,
        };
        let (_, watch) = part.open();
        let ask = reader.0.lock().unwrap().take().unwrap();
        let shared = Arc::clone(&watch.shared);
        let left = length;
        (Pieces { shared, left }, watch, ask)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    #[test]
    fn a_body_ends_with_its_length_and_not_before() {
        runtime().block_on(async {
            let (mut body, watch, ask) = opened(4);
            assert_eq!((ask.offset, ask.length), (3, 4));
            ask.pieces
                .send(Ok(Bytes::from_static(b"ab")))
                .await
                .unwrap();
            assert!(body.next().await.unwrap().is_ok());
            assert_eq!((watch.taken(), watch.is_complete()), (2, false));
            drop(ask);
            assert!(body.next().await.unwrap().is_err());
        });
    }

    #[test]
    fn dropping_the_watch_lets_the_reader_and_the_network_go() {
        runtime().block_on(async {
            let (mut body, watch, ask) = opened(1 << 30);
            let waits = tokio::spawn(async move { body.next().await });
            tokio::task::yield_now().await;
            drop(watch);
            assert!(waits.await.unwrap().unwrap().is_err());
            assert!(ask.pieces.is_closed());
        });
    }
}
