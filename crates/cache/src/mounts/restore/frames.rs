//! Unpacking frames, several at once and before they are asked for, and handing out their bytes in order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use zstd::bulk::Decompressor;

use super::flow::{Stopped, lost};
use super::packs::Packs;
use crate::mounts::list::{List, MAX_FRAME};
use crate::{Error, Result};

/// Frames that may be unpacked and not taken yet.
const AHEAD: usize = 8;

/// Most who unpack at the same time.
const AT_ONCE: usize = 4;

/// Frames that stay after they were used: files that have not changed lie in one after the other.
const KEPT: usize = 8;

pub(super) struct Frames<'a> {
    list: &'a List,
    packs: &'a Packs<'a>,
    /// Positions of frames in the order in which they are taken; one that was dropped comes again.
    turns: Vec<u32>,
    /// Positions of the chunks in each frame.
    chunks: Vec<Vec<u32>>,
    next: AtomicUsize,
}

impl<'a> Frames<'a> {
    pub fn of(list: &'a List, packs: &'a Packs<'a>) -> Self {
        let mut window = Window::default();
        let mut turns = Vec::new();
        let used = list.files.iter().flatten();
        let used = used.filter_map(|chunk| list.chunks.get(*chunk as usize));
        for chunk in used {
            if window.get(chunk.frame).is_none() {
                window.push(chunk.frame, ());
                turns.push(chunk.frame);
            }
        }
        let mut chunks = vec![Vec::new(); list.frames.len()];
        for (number, chunk) in (0..).zip(&list.chunks) {
            if let Some(within) = chunks.get_mut(chunk.frame as usize) {
                within.push(number);
            }
        }
        Self {
            list,
            packs,
            turns,
            chunks,
            next: AtomicUsize::new(0),
        }
    }

    /// How many may unpack.
    pub fn hands(&self) -> usize {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        AT_ONCE.min(cores).min(self.turns.len())
    }

    /// Unpacks one frame after the other, beside others that do the same.
    pub fn unpack_all(&self) {
        let _guard = self.packs.flow.guard();
        // Who stops has said why.
        let _: Result<(), Stopped> = self.unpack_turns();
    }

    fn unpack_turns(&self) -> Result<(), Stopped> {
        let flow = &self.packs.flow;
        let unpacker = Decompressor::new().map_err(Error::at("unpack", Path::new(WHAT)));
        let mut unpacker = unpacker.map_err(|error| flow.fail(error))?;
        let mut open = None;
        loop {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(frame) = self.turns.get(turn) else {
                return Ok(());
            };
            flow.wait(|state| (turn < state.taken + AHEAD).then_some(()))?;
            let bytes = self.unpack(*frame, &mut open, &mut unpacker)?;
            flow.change(|state| {
                state.frames.insert(turn, bytes);
            });
        }
    }

    /// A frame unpacked, all chunks of which are those that the list names.
    fn unpack(
        &self,
        number: u32,
        open: &mut Option<(u32, File)>,
        unpacker: &mut Decompressor<'_>,
    ) -> Result<Vec<u8>, Stopped> {
        let flow = &self.packs.flow;
        let frame = self.list.frames.get(number as usize);
        let frame = frame.ok_or_else(|| flow.fail(lost()))?;
        let file = match open.take() {
            Some((pack, file)) if pack == frame.pack => file,
            _ => self.packs.open(frame.pack)?,
        };
        let (_, file) = open.insert((frame.pack, file));
        let damaged = |reason: String| flow.fail(self.packs.damaged(frame.pack, reason));
        self.packs
            .cancel
            .check()
            .map_err(|cancelled| flow.fail(cancelled.into()))?;
        let mut stored = vec![0; frame.stored as usize];
        let raw = file
            .read_exact_at(&mut stored, frame.offset)
            .and_then(|()| unpacker.decompress(&stored, MAX_FRAME.min(frame.raw as usize)))
            .map_err(|e| damaged(e.to_string()))?;
        if raw.len() != frame.raw as usize {
            return Err(damaged("a frame in it has another length".to_owned()));
        }
        match self.is_as_listed(number, &raw) {
            true => Ok(raw),
            false => Err(damaged(
                "a chunk in it is not the one that the list names".to_owned(),
            )),
        }
    }

    fn is_as_listed(&self, frame: u32, raw: &[u8]) -> bool {
        let chunks = self.chunks.get(frame as usize);
        chunks.into_iter().flatten().all(|number| {
            let chunk = self.list.chunks.get(*number as usize);
            chunk.is_some_and(|chunk| {
                let bytes = part(raw, chunk.at, chunk.length);
                bytes.is_some_and(|bytes| *blake3::hash(bytes).as_bytes() == chunk.id)
            })
        })
    }

    /// Writes the bytes of all files in order.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let flow = &self.packs.flow;
        let mut window = Window::default();
        let mut turns = 0..;
        for number in self.list.files.iter().flatten() {
            let chunk = self.list.chunks.get(*number as usize).ok_or_else(lost)?;
            if window.get(chunk.frame).is_none() {
                let turn = turns.next().ok_or_else(lost)?;
                let taken = flow.wait(|state| {
                    let bytes = state.frames.remove(&turn)?;
                    state.taken = turn + 1;
                    Some(bytes)
                });
                window.push(chunk.frame, taken.map_err(|Stopped| flow.failure())?);
            }
            let raw = window.get(chunk.frame).ok_or_else(lost)?;
            let bytes = part(raw, chunk.at, chunk.length).ok_or_else(lost)?;
            out.write_all(bytes)
                .map_err(Error::at("unpack", Path::new(WHAT)))?;
        }
        Ok(())
    }
}

/// What is unpacked, in errors.
const WHAT: &str = "a cache mount";

fn part(frame: &[u8], at: u32, length: u32) -> Option<&[u8]> {
    frame.get(at as usize..at as usize + length as usize)
}

/// The frames that were used last.
struct Window<T>(VecDeque<(u32, T)>);

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self(VecDeque::with_capacity(KEPT))
    }
}

impl<T> Window<T> {
    fn get(&self, frame: u32) -> Option<&T> {
        let mut known = self.0.iter();
        known.find_map(|(known, what)| (*known == frame).then_some(what))
    }

    fn push(&mut self, frame: u32, what: T) {
        self.0.truncate(KEPT - 1);
        self.0.push_front((frame, what));
    }
}
