//! The little of DER that key files need: elements one after the other (X.690, 8 and 10).

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// Tag of a field that is told from others by its number.
pub(super) const fn numbered(number: u8) -> u8 {
    0xa0 | number
}

/// Reads elements one after the other.
pub(super) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn next(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (&found, rest) = self.0.split_first()?;
        let (length, rest) = length(rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        if found != tag {
            return None;
        }
        self.0 = rest;
        Some(content)
    }
}

/// A length and what is behind it: one byte, or the number of bytes that it takes and these.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    // More than three bytes is more than a key file may have.
    if !(1..=3).contains(&count) {
        return None;
    }
    let (number, rest) = rest.split_at_checked(count)?;
    let add = |sum: usize, byte: &u8| (sum << 8) | usize::from(*byte);
    Some((number.iter().fold(0, add), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_end_where_their_length_says() {
        let long = [[SEQUENCE, 0x82, 0x01, 0x00].as_slice(), &[7; 256]].concat();
        let bytes = [&[INTEGER, 1, 5][..], &long].concat();
        let mut elements = Elements::new(&bytes);
        assert_eq!(elements.next(OBJECT), None);
        assert_eq!(elements.next(INTEGER), Some(&[5][..]));
        assert_eq!(elements.next(SEQUENCE), Some(&[7; 256][..]));
        assert_eq!(elements.next(SEQUENCE), None);
    }

    #[test]
    fn cut_and_endless_elements_are_none() {
        for bytes in [
            &[][..],
            &[INTEGER],
            &[INTEGER, 2, 1],
            &[INTEGER, 0x80, 1, 0, 0],
            &[INTEGER, 0x82, 1],
            &[INTEGER, 0x84, 0, 0, 0, 1, 1],
        ] {
            assert_eq!(Elements::new(bytes).next(INTEGER), None, "{bytes:?}");
        }
    }
}
