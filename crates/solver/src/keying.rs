//! Keying a vertex: what its inputs put into its keys, and the order of lookups.

use rbuild_graph::{InputUse, VertexIx, op_key};
use rbuild_progress::CancelToken;

use crate::attempt::{Attempt, Bench, Done, Found, Inputs};
use crate::error::Failure;
use crate::key::key_of;
use crate::note::{NOTE_FORM, base_of, fields, source_note};
use crate::{CacheError, CacheKey, Cause, InputNote, KeyInputs, Part, Worker};

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
    /// Nothing that can be used was found under its keys.
    Miss(Keys, Cause),
    /// The chain key leads nowhere, and inputs are missing that the content key needs.
    Unfounded,
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
        let mut cause = if allowed {
            Cause::NoRecord
        } else {
            Cause::Forced
        };
        if allowed {
            match self.find(ix, &chain, inputs)? {
                Found::Here(done) => return Ok(Probed::Hit(done)),
                Found::Gone => cause = Cause::Gone,
                Found::Nothing => {}
            }
        }
        if !inputs.are_here() {
            return Ok(Probed::Unfounded);
        }
        self.use_content(ix, inputs, &mut parts, cancel)?;
        let keys = self.keys_of(ix, chain, key_of(&op, &parts), &parts);
        if allowed && keys.content != keys.chain {
            match self.find(ix, &keys.content, inputs)? {
                Found::Here(done) => {
                    self.adopt(&keys)?;
                    return Ok(Probed::Hit(done));
                }
                Found::Gone => cause = Cause::Gone,
                Found::Nothing => {}
            }
        }
        Ok(Probed::Miss(keys, cause))
    }

    pub(crate) fn chain_parts(
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
        let from = inputs.outputs.get(input).and_then(Option::as_ref);
        let from = from.ok_or(Failure::Unkeyed(input))?;
        self.worker
            .content(vertex, input, from, &cx)
            .map(|digest| digest.map(Part::Content))
            .map_err(Failure::Worker)
    }

    fn keys_of(&self, ix: VertexIx, chain: CacheKey, content: CacheKey, parts: &[Part]) -> Keys {
        Keys {
            chain,
            content,
            note: self.note(ix, parts),
        }
    }

    /// Notes what the content key of a vertex was made of.
    fn note(&self, ix: VertexIx, parts: &[Part]) -> KeyInputs {
        let vertex = self.plan.vertex(ix);
        let base = base_of(&vertex.op);
        let inputs = vertex.inputs.iter().zip(parts).enumerate();
        let inputs = inputs.map(|(at, (&input, part))| InputNote {
            label: self.plan.name(input).to_owned(),
            part: part.clone(),
            source: source_note(&self.plan.vertex(input).op),
            files: None,
            is_base: base == Some(at),
        });
        KeyInputs {
            name: self.plan.name(ix).to_owned(),
            op: op_key(&vertex.op),
            fields: fields(&vertex.op),
            inputs: inputs.collect(),
            form: NOTE_FORM,
        }
    }

    /// The note of a vertex that is carried out, with the lists of the files that its inputs contribute.
    pub(crate) fn note_with_files(
        &self,
        ix: VertexIx,
        note: &KeyInputs,
        inputs: &Inputs<W::Output>,
        cancel: &CancelToken,
    ) -> KeyInputs {
        let mut note = note.clone();
        let vertex = self.plan.vertex(ix);
        let cx = self.context(ix, cancel);
        for (at, input) in note.inputs.iter_mut().enumerate() {
            if !matches!(input.part, Part::Content(_)) {
                continue;
            }
            // Nothing but an explanation hangs on it.
            let Some(Some(from)) = inputs.outputs.get(at) else {
                continue;
            };
            match self.worker.list_files(vertex, at, from, &cx) {
                Ok(files) => input.files = files,
                Err(error) => tracing::debug!(%error, "files of an input were not listed"),
            }
        }
        note
    }
}
