//! Cutting bytes where their content says so: what is inserted in a file changes the chunks around it only.
//!
//! A rolling sum over the last 64 bytes ("gear") cuts where some of its bits are zero: more of them before
//! the wanted size, fewer behind it, so that sizes lie close to it (FastCDC, Xia and others, 2016).

use std::io::{self, Read};

/// Smallest chunk, save for the last of a file, in bytes.
pub(super) const MIN: usize = 16 << 10;
/// Size around which chunks lie.
const AVERAGE: usize = 64 << 10;
/// Largest chunk.
pub(super) const MAX: usize = 256 << 10;

/// Bits that are zero at a cut before the average: 18 of them, the highest, where all 64 bytes count.
const MASK_BEFORE: u64 = !0 << (64 - 18);
/// Bits that are zero at a cut behind it: 14 of them.
const MASK_BEHIND: u64 = !0 << (64 - 14);

/// A random number for each byte; other numbers would be another cut.
const GEAR: [u64; 256] = gear();

/// Numbers of splitmix64 (Steele and others, 2014), from zero.
const fn gear() -> [u64; 256] {
    let mut table = [0; 256];
    let mut state = 0u64;
    let mut at = 0;
    while at < table.len() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    table
}

/// Length of the first chunk of `bytes`, which hold [`MAX`] bytes or all that is left.
fn cut(bytes: &[u8]) -> usize {
    let most = bytes.len().min(MAX);
    let mut sum = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(most).skip(MIN) {
        sum = (sum << 1).wrapping_add(GEAR.get(usize::from(*byte)).copied().unwrap_or(0));
        let mask = if at < AVERAGE {
            MASK_BEFORE
        } else {
            MASK_BEHIND
        };
        if sum & mask == 0 {
            return at + 1;
        }
    }
    most
}

/// Reads to the end and hands on one chunk after the other; `buffer` is used on the way.
pub(super) fn chunks<E: From<io::Error>>(
    input: &mut dyn Read,
    buffer: &mut Vec<u8>,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    const WINDOW: u64 = 4 * MAX as u64;
    buffer.clear();
    let mut begun = 0;
    let mut is_over = false;
    loop {
        if !is_over && buffer.len() - begun < MAX {
            buffer.drain(..begun);
            begun = 0;
            let wanted = WINDOW - buffer.len() as u64;
            let read = (&mut *input).take(wanted).read_to_end(buffer)?;
            is_over = (read as u64) < wanted;
        }
        let rest = buffer.get(begun..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        let length = cut(rest);
        each(rest.get(..length).unwrap_or_default())?;
        begun += length;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Bytes that look random and are always the same.
    fn noise(length: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    fn cut_up(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let each = |chunk: &[u8]| {
            all.push(chunk.to_vec());
            Ok::<_, io::Error>(())
        };
        chunks(&mut bytes, &mut Vec::new(), each).unwrap();
        all
    }

    #[test]
    fn chunks_are_all_there_is_in_sizes_that_were_promised() {
        let bytes = noise(5_000_000, 1);
        let all = cut_up(&bytes);
        assert_eq!(all.concat(), bytes);
        assert_eq!(all, cut_up(&bytes));
        for chunk in &all[..all.len() - 1] {
            assert!((MIN..=MAX).contains(&chunk.len()), "{}", chunk.len());
        }
        let mean = bytes.len() / all.len();
        assert!((AVERAGE / 2..AVERAGE * 2).contains(&mean), "{mean}");
        // What never varies is cut by size alone.
        let flat = cut_up(&vec![0; 3 * MAX + 1]);
        assert_eq!(
            flat.iter().map(Vec::len).collect::<Vec<_>>(),
            [MAX, MAX, MAX, 1]
        );
        assert!(cut_up(b"").is_empty());
        assert_eq!(cut_up(b"x"), [b"x"]);
    }

    #[test]
    fn an_insertion_changes_the_chunks_around_it_only() {
        let bytes = noise(8_000_000, 2);
        let before: BTreeSet<_> = cut_up(&bytes).into_iter().collect();
        for at in [0, 1_234_567, 7_999_999] {
            let mut changed = bytes.clone();
            changed.splice(at..at, *b"a few bytes more");
            let new = cut_up(&changed);
            let new = new.iter().filter(|chunk| !before.contains(*chunk)).count();
            assert!((1..=4).contains(&new), "{new} at {at}");
        }
    }
}
