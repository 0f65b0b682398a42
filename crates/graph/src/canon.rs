//! An encoder of values whose encodings can all be told where they end.
//!
//! Two different sequences of calls never give equal bytes, as long as a reader could know from
//! what came before which call is next.

use rbuild_oci::Digest;

/// Version of the encoding; a change of any rule of a digest must raise it, which drops all old
/// records.
const FORMAT: u64 = 1;

/// Which fields are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Whole,
    Key,
}

/// The encoder; every method appends an encoding that can be told where it ends.
pub(crate) struct Canon {
    pub(crate) view: View,
    bytes: Vec<u8>,
}

impl Canon {
    pub(crate) fn new(view: View) -> Self {
        let mut canon = Self {
            view,
            bytes: Vec::with_capacity(512),
        };
        canon.number(FORMAT);
        canon
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::sha256_of(&self.bytes)
    }

    pub(crate) fn whole(&self) -> bool {
        self.view == View::Whole
    }

    // Plain values.

    pub(crate) fn tag(&mut self, tag: u8) {
        self.bytes.push(tag);
    }

    pub(crate) fn number(&mut self, value: u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.tag(u8::from(value));
    }

    pub(crate) fn blob(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.bytes.extend(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.blob(value.as_bytes());
    }

    pub(crate) fn index(&mut self, value: usize) {
        self.number(value as u64);
    }

    pub(crate) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(crate) fn list<T>(
        &mut self,
        items: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let at = self.bytes.len();
        self.number(0);
        let mut count: u64 = 0;
        for item in items {
            write(self, item);
            count += 1;
        }
        self.bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
    }

    pub(crate) fn texts(&mut self, items: &[String]) {
        self.list(items.iter(), |canon, item| canon.text(item));
    }

    pub(crate) fn pairs(&mut self, items: &[(String, String)]) {
        self.list(items.iter(), |canon, (key, value)| {
            canon.text(key);
            canon.text(value);
        });
    }
}
