//! Blobs on their way here: streamed into the store, verified, resumed where a connection breaks.

use futures_util::StreamExt;
use object_store::{GetOptions, GetRange};
use rbuild_oci::Descriptor;
use rbuild_store::Store;

use super::{Objects, Sighting, is_missing};
use crate::backend::content::{Arrival, Refused};
use crate::{Error, Result};

const ACTION: &str = "read a blob";
/// Connections in a row that may bring nothing.
const FRUITLESS: u32 = 3;

/// Why a body was not read to its end.
enum Broken {
    /// There is no body.
    Absent(object_store::Error),
    /// The connection broke.
    Connection(object_store::Error),
    /// The blob is not wanted.
    Refused(Refused),
}

impl From<Refused> for Broken {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Objects {
    /// Brings a blob into the store.
    pub(super) async fn bring(
        &self,
        blob: &Descriptor,
        store: &Store,
        progress: &dyn Fn(u64),
    ) -> Result<()> {
        let mut arrival = Arrival::new(blob, store, progress)?;
        let mut fruitless = 0;
        loop {
            let before = arrival.position();
            let source = match self.one_body(&mut arrival).await {
                Ok(()) => break,
                Err(Broken::Connection(source)) => source,
                Err(Broken::Refused(refused)) => return Err(refused.at(&self.name, blob)),
                Err(Broken::Absent(error)) if is_missing(&error) => {
                    self.seen().insert(blob.digest.clone(), Sighting::Absent);
                    return Err(Error::Gone {
                        place: self.name.clone(),
                        digest: blob.digest.clone(),
                    });
                }
                Err(Broken::Absent(error)) => return Err(self.failed(ACTION)(error)),
            };
            let brought = arrival.position() > before;
            fruitless = if brought { 0 } else { fruitless + 1 };
            if fruitless >= FRUITLESS {
                return Err(self.failed(ACTION)(source));
            }
            let policy = self.client.retry_policy();
            let pause = policy.next_connection(fruitless.max(1));
            tokio::time::sleep(pause.unwrap_or_default()).await;
        }
        let finished = arrival.finish();
        finished.map_err(|refused| refused.at(&self.name, blob))
    }

    /// One answer with its body, from where the last one ended.
    async fn one_body(&self, arrival: &mut Arrival<'_>) -> Result<(), Broken> {
        let position = arrival.position();
        let options = GetOptions {
            range: (position > 0).then_some(GetRange::Offset(position)),
            ..GetOptions::default()
        };
        let key = self.layout.blob(&arrival.blob.digest);
        let answer = self.store().get_opts(&key, options).await;
        let answer = answer.map_err(Broken::Absent)?;
        arrival.check_size(answer.meta.size)?;
        let mut body = answer.into_stream();
        while let Some(piece) = body.next().await {
            arrival.take(&piece.map_err(Broken::Connection)?)?;
        }
        Ok(())
    }
}
