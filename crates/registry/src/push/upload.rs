//! One blob to a registry: is it there already, can it be mounted, or must it be sent.

use std::sync::Arc;

use rbuild_oci::{Digest, Reference};
use rbuild_progress::{CancelToken, Cancelled};
use reqwest::header::{CONTENT_LENGTH, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::{mpsc, oneshot};

use super::sending::Progress;
use super::session::Session;
use super::{PushBlob, Pushed};
use crate::auth::Access;
use crate::cancel::until;
use crate::client::{Inner, Place};
use crate::endpoint::Endpoint;
use crate::failure::{Subject, failure};
use crate::outgoing::{Ask, AskFor};
use crate::transport::{Attempts, Call};
use crate::{Error, Result};

/// Shortest blob whose upload is resumed, in bytes: shorter ones are sent again sooner than asked for.
const RESUMABLE: u64 = 4 << 20;
/// Other repositories that a mount is tried from.
const MOUNTS: usize = 3;
/// Header with the digest of what the registry took.
pub(super) const DIGEST_HEADER: &str = "docker-content-digest";

/// What the network asks of the thread that the upload is for.
pub(super) enum Question {
    /// Read a part of the blob.
    Read(Ask),
    /// Bring the blob into the store, if it is not there.
    Provide(oneshot::Sender<()>),
    /// Keep where the upload goes on.
    Remember(String),
    /// Forget that.
    Forget,
    /// How it ended.
    End(Result<Pushed>),
}

/// One blob on its way. Runs on the network thread; whatever blocks is asked of another.
pub(super) struct Upload {
    pub inner: Arc<Inner>,
    pub reference: Reference,
    pub blob: PushBlob,
    /// Where an earlier upload of the same blob went on.
    pub remembered: Option<Url>,
    pub cancel: CancelToken,
    pub questions: mpsc::UnboundedSender<Question>,
}

impl AskFor for Upload {
    fn ask(&self, ask: Ask) {
        self.tell(Question::Read(ask));
    }
}

impl Upload {
    /// Sends the blob and says how that ended.
    pub async fn run(self) {
        let work = async {
            let endpoint = self.inner.registry(&self.reference).await?;
            self.push(&endpoint).await
        };
        let ended = until(&self.cancel, work).await;
        self.tell(Question::End(ended));
    }

    /// Fails if nobody listens any more, and then nobody wants to know.
    pub(super) fn tell(&self, question: Question) {
        self.questions.send(question).ok();
    }

    async fn push(&self, endpoint: &Endpoint) -> Result<Pushed> {
        let place = self.place(endpoint, Access::Push);
        if self.is_there(&place).await? {
            if self.remembered.is_some() {
                self.tell(Question::Forget);
            }
            return Ok(Pushed::Present);
        }
        let mut progress = Progress::new();
        if !self.take_up(&place, &mut progress).await? {
            for from in self.blob.mount_from.iter().take(MOUNTS) {
                if self.mount(endpoint, from, &mut progress).await? {
                    return Ok(Pushed::Mounted { from: from.clone() });
                }
            }
        }
        self.provide().await?;
        // Not before: what is provided may have to be fetched, under a permit of its own. Never closed,
        // so this only fails if that changes; then there is nothing to wait for.
        let _permit = self
            .inner
            .transfers
            .acquire()
            .await
            .map_err(|_| Cancelled)?;
        self.send(&place, &mut progress).await?;
        if self.is_resumable() {
            self.tell(Question::Forget);
        }
        Ok(Pushed::Sent)
    }

    fn place<'a>(&'a self, endpoint: &'a Endpoint, access: Access<'a>) -> Place<'a> {
        Place {
            endpoint,
            reference: &self.reference,
            access,
            cancel: &self.cancel,
        }
    }

    pub(super) fn digest(&self) -> &Digest {
        &self.blob.descriptor.digest
    }

    pub(super) fn size(&self) -> u64 {
        self.blob.descriptor.size
    }

    pub(super) fn is_resumable(&self) -> bool {
        self.size() >= RESUMABLE
    }

    /// Whether the repository has the blob. Only a clear yes counts: what is sent in vain costs time,
    /// what is left out in error costs the image.
    pub(super) async fn is_there(&self, place: &Place<'_>) -> Result<bool> {
        let path = format!("blobs/{}", self.digest());
        let response = self
            .inner
            .request(place, Method::HEAD, &path, HeaderMap::new())
            .await?;
        if matches!(response.status().as_u16(), 401 | 403) {
            return Err(self.failed(response).await);
        }
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        Ok(
            response.status() == StatusCode::OK
                && length.is_none_or(|length| length == self.size()),
        )
    }

    /// Has the blob taken over from another repository; a refusal may begin an upload instead.
    async fn mount(
        &self,
        endpoint: &Endpoint,
        from: &str,
        progress: &mut Progress,
    ) -> Result<bool> {
        let place = self.place(endpoint, Access::Mount { from });
        let digest = self.digest().as_str();
        let mut url = self.uploads(endpoint)?;
        url.query_pairs_mut()
            .append_pair("mount", digest)
            .append_pair("from", from);
        let response = match self.post(&place, url).await {
            Ok(response) => response,
            // A token service may not want to hear of the other repository.
            Err(Error::Denied { .. } | Error::PushDenied { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        match response.status() {
            StatusCode::CREATED => {
                self.check_digest(&response)?;
                Ok(true)
            }
            StatusCode::ACCEPTED => {
                let begun = Session::begun(&response, endpoint)?;
                if let Some(earlier) = progress.session.replace(begun) {
                    self.give_up(&place, earlier).await;
                }
                Ok(false)
            }
            status => {
                tracing::debug!(from, %status, "not mounted");
                Ok(false)
            }
        }
    }

    pub(super) fn uploads(&self, endpoint: &Endpoint) -> Result<Url> {
        endpoint.url(&format!("{}/blobs/uploads/", endpoint.repository))
    }

    pub(super) async fn post(&self, place: &Place<'_>, url: Url) -> Result<Response> {
        let call = Call {
            method: Method::POST,
            ..Call::get(place.endpoint, url)
        };
        self.inner.call(place, call).await
    }

    /// Tells the registry that a session is not needed; it would notice in time by itself.
    async fn give_up(&self, place: &Place<'_>, session: Session) {
        let call = Call {
            method: Method::DELETE,
            attempts: Attempts::One,
            ..Call::get(place.endpoint, session.location)
        };
        self.inner.call(place, call).await.ok();
    }

    async fn provide(&self) -> Result<()> {
        let (reply, ready) = oneshot::channel();
        self.tell(Question::Provide(reply));
        // Without an answer the other thread has failed and says so itself.
        Ok(ready.await.map_err(|_| Cancelled)?)
    }

    /// Errors: [`Error::TookOther`] if the registry names another digest than was sent.
    pub(super) fn check_digest(&self, response: &Response) -> Result<()> {
        let stated = response.headers().get(DIGEST_HEADER);
        let stated = stated.and_then(|value| Digest::parse(value.to_str().ok()?).ok());
        match stated {
            Some(found) if &found != self.digest() => Err(Error::TookOther {
                name: self.reference.name(),
                expected: self.digest().clone(),
                found,
            }),
            _ => Ok(()),
        }
    }

    pub(super) async fn failed(&self, response: Response) -> Error {
        failure(response, Subject::Upload(&self.reference, self.digest())).await
    }

    pub(super) fn nonsense(&self, place: &Place<'_>, reason: String) -> Error {
        Error::Protocol {
            host: place.endpoint.host.clone(),
            reason,
        }
    }
}
