//! The entries of a lock in the making: what is needed comes in, what nothing needs goes.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_dockerfile::Span;
use rbuild_oci::{Platform, Reference};

use super::filling::Filling;
use super::needs::Source;
use super::report::{LockChange, LockEntry, What};
use super::stale::Written;
use super::{Lock, LockProblem, LockUpdate, LockWriting, OtherEntries, Pinned};
use crate::Result;
use crate::elsewhere::Fetching;
use crate::places::Places;

/// What a build needs.
pub(super) struct Needs {
    pub images: Vec<NeededImage>,
    pub sources: Vec<(Source, Vec<Span>)>,
}

/// An image for a platform.
pub(super) struct NeededImage {
    pub reference: Reference,
    pub platform: Platform,
    pub pin: Pinned,
    pub spans: Vec<Span>,
}

/// A lock in the making.
pub(super) struct Making<'a> {
    pub filling: &'a Filling<'a>,
    pub fetching: &'a Fetching<'a>,
    pub places: &'a Places,
    pub lock: Lock,
    pub changes: BTreeSet<LockChange>,
}

impl<'a> Making<'a> {
    /// Begins with the lock as it is.
    pub(super) fn new(
        filling: &'a Filling<'a>,
        (fetching, places): (&'a Fetching<'a>, &'a Places),
    ) -> Self {
        Self {
            filling,
            fetching,
            places,
            lock: filling.lock.clone(),
            changes: BTreeSet::new(),
        }
    }

    /// The lock as it is to be, and what is new about it.
    pub(super) fn done(self) -> (Lock, Vec<LockChange>) {
        (self.lock, self.changes.into_iter().collect())
    }

    /// Brings in what is needed.
    pub(super) fn update(&mut self, needs: &Needs) -> Result<()> {
        self.all_are_needed(needs)?;
        let is_check = self.filling.request.writing == LockWriting::Checked;
        let mut by_name: BTreeMap<&Reference, Vec<&NeededImage>> = BTreeMap::new();
        for image in &needs.images {
            by_name.entry(&image.reference).or_default().push(image);
        }
        if is_check {
            for (reference, images) in by_name {
                self.look_for(reference, &images);
            }
            self.look_for_sources(needs);
            return Ok(());
        }
        for (reference, images) in by_name {
            self.take_image(reference, &images)?;
        }
        self.take_sources(needs)
    }

    /// Refuses names to update that are none.
    fn all_are_needed(&self, needs: &Needs) -> Result<()> {
        let LockUpdate::These(names) = &self.filling.request.update else {
            return Ok(());
        };
        for name in names {
            let one = LockUpdate::These(vec![name.clone()]);
            let image = || {
                needs
                    .images
                    .iter()
                    .any(|image| one.hits_image(&image.reference))
            };
            let source = || {
                needs
                    .sources
                    .iter()
                    .any(|(source, _)| one.hits(&source.name()))
            };
            if !image() && !source() {
                return Err(LockProblem::NotNeeded { name: name.clone() }.into());
            }
        }
        Ok(())
    }

    pub(super) fn note(&mut self, what: What, name: String, entry: LockEntry) {
        self.changes.insert(LockChange {
            what,
            name,
            platform: None,
            entry,
        });
    }

    pub(super) fn missing(&self, spans: &[Span]) -> LockEntry {
        let lines = spans.iter().map(|span| self.places.lines_of(*span).first);
        LockEntry::Missing {
            lines: lines.collect(),
        }
    }

    /// Says of the entries that were not needed what they are good for, and removes those that are not.
    pub(super) fn others(&mut self, needs: &Needs, written: &Written) {
        let images: BTreeSet<&Reference> =
            needs.images.iter().map(|image| &image.reference).collect();
        let names: BTreeSet<String> = needs
            .sources
            .iter()
            .map(|(source, _)| source.name())
            .collect();
        let mut lock = std::mem::take(&mut self.lock);
        lock.images.retain(|name, image| {
            let is_written = written.image(name);
            image.indirect |= images.contains(name) && !is_written;
            let can = is_written || image.indirect;
            images.contains(name) || self.stays(What::Image, name.familiar(), can)
        });
        lock.files.retain(|name, file| {
            let is_written = written.address(name);
            file.indirect |= names.contains(name) && !is_written;
            let can = is_written || file.indirect;
            names.contains(name) || self.stays(What::File, name.clone(), can)
        });
        lock.commits.retain(|name, commit| {
            let is_written = written.address(name);
            commit.indirect |= names.contains(name) && !is_written;
            let can = is_written || commit.indirect;
            names.contains(name) || self.stays(What::Git, name.clone(), can)
        });
        self.lock = lock;
    }

    /// Whether an entry that is not needed stays; `can` is whether another build could need it.
    fn stays(&mut self, what: What, name: String, can: bool) -> bool {
        let request = self.filling.request;
        let is_check = request.writing == LockWriting::Checked;
        let entry = match (can, request.others) {
            (true, OtherEntries::Kept) => LockEntry::Unneeded,
            _ if is_check => LockEntry::Stale,
            _ => LockEntry::Removed,
        };
        let stays = entry != LockEntry::Removed;
        self.note(what, name, entry);
        stays
    }
}
