//! The encoding of ssh: 32-bit numbers and byte strings with their length before them (RFC 4251, 5).

/// Reads values one after the other.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    /// A number that is not negative, without leading zeros.
    pub(super) fn natural(&mut self) -> Option<&'a [u8]> {
        self.bytes().map(without_zeros)
    }
}

pub(super) fn without_zeros(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Lengths here are those of keys and signatures.
pub(super) fn put_u32(to: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    to.extend_from_slice(&number.to_be_bytes());
}

pub(super) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(to, bytes.len());
    to.extend_from_slice(bytes);
}

/// A number that is not negative: a zero goes before a first bit that would be a sign.
pub(super) fn put_natural(to: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = without_zeros(bytes);
    match bytes.first() {
        Some(first) if first & 0x80 != 0 => {
            put_u32(to, bytes.len() + 1);
            to.push(0);
            to.extend_from_slice(bytes);
        }
        _ => put_bytes(to, bytes),
    }
}
