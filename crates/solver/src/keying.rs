//! Keying a vertex: what its inputs put into its keys, and the order of lookups.

use rbuild_graph::{InputUse, VertexIx, op_key};
use rbuild_progress::CancelToken;

use crate::attempt::{Attempt, Bench, Done, Inputs};
use crate::error::Failure;
use crate::key::{key_of, note};
use crate::{CacheError, CacheKey, KeyInputs, Part, Worker};

/// The keys of a vertex; equal ones where no input counts by content.
pub(crate) struct Keys {
    pub(crate) chain: CacheKey,
    pub(crate) content: CacheKey,
    pub(crate) note: KeyInputs,
}

/// What keying a vertex came to.
pub(crate) enum Probed<O> {
    /// Its result was found.
    Hit(Done<O>),
    /// Nothing was found under its keys.
    Miss(Keys),
}

impl Keys {
    /// The keys, without repetition.
    pub(crate) fn distinct(&self) -> Vec<CacheKey> {
        if self.chain == self.content {
            vec![self.content.clone()]
        } else {
            vec![self.chain.clone(), self.content.clone()]
        }
    }
}

impl<W: Worker> Bench<'_, W> {
    /// Looks under the chain key, then under the content key; the digests that only the latter needs
    /// are not taken before.
    pub(crate) fn probe(
        &self,
        ix: VertexIx,
        inputs: &Inputs<W::Output>,
        cancel: &CancelToken,
    ) -> Attempt<Probed<W::Output>, W> {
        let op = op_key(&self.plan.vertex(ix).op);
        let mut parts = self.chain_parts(ix, inputs, cancel)?;
        let chain = key_of(&op, &parts);
        let allowed = !self.plan.is_forced(ix);
        if allowed && let Some(done) = self.find(ix, &chain, inputs)? {
            return Ok(Probed::Hit(done));
        }
        self.use_content(ix, inputs, &mut parts, cancel)?;
        let keys = self.keys_of(ix, chain, key_of(&op, &parts), &parts);
        if allowed
            && keys.content != keys.chain
            && let Some(done) = self.find(ix, &keys.content, inputs)?
        {
            self.adopt(&keys)?;
            return Ok(Probed::Hit(done));
        }
        Ok(Probed::Miss(keys))
    }

    fn chain_parts(
        &self,
        ix: VertexIx,
        inputs: &Inputs<W::Output>,
        cancel: &CancelToken,
    ) -> Attempt<Vec<Part>, W> {
        let op = &self.plan.vertex(ix).op;
        let identities = inputs.identities.iter().enumerate();
        identities
            .map(|(input, identity)| match (op.input_use(input), identity) {
                (InputUse::Unkeyed, _) => Ok(Part::Nothing),
                (_, Some(identity)) => Ok(Part::Identity(identity.clone())),
                (InputUse::Files, None) => self
                    .content(ix, input, inputs, cancel)?
                    .ok_or(Failure::Unkeyed(input)),
                (InputUse::Chain, None) => Err(Failure::Unkeyed(input)),
            })
            .collect()
    }

    /// Replaces the identities of inputs that are read through files by the digests of these files.
    fn use_content(
        &self,
        ix: VertexIx,
        inputs: &Inputs<W::Output>,
        parts: &mut [Part],
        cancel: &CancelToken,
    ) -> Attempt<(), W> {
        let op = &self.plan.vertex(ix).op;
        for (input, part) in parts.iter_mut().enumerate() {
            if op.input_use(input) == InputUse::Files
                && matches!(part, Part::Identity(_))
                && let Some(content) = self.content(ix, input, inputs, cancel)?
            {
                *part = content;
            }
        }
        Ok(())
    }

    fn content(
        &self,
        ix: VertexIx,
        input: usize,
        inputs: &Inputs<W::Output>,
        cancel: &CancelToken,
    ) -> Attempt<Option<Part>, W> {
        cancel.check().map_err(|_| CacheError::Cancelled)?;
        let cx = self.context(ix, cancel);
        let vertex = self.plan.vertex(ix);
        self.worker
            .content(vertex, input, &inputs.outputs, &cx)
            .map(|digest| digest.map(Part::Content))
            .map_err(Failure::Worker)
    }

    fn keys_of(&self, ix: VertexIx, chain: CacheKey, content: CacheKey, parts: &[Part]) -> Keys {
        let vertex = self.plan.vertex(ix);
        let inputs = vertex.inputs.iter();
        let labels: Vec<&str> = inputs.map(|&input| self.plan.name(input)).collect();
        Keys {
            chain,
            content,
            note: note(vertex, self.plan.name(ix), &labels, parts),
        }
    }
}
