//! The one piece of arithmetic that ssh's format for RSA keys leaves to its reader.

/// `value mod (prime - 1)`, all with the high byte first; `None` for an even prime.
///
/// Bit by bit: some milliseconds for the largest keys, once for each key. Which bits are set shows in
/// the time it takes, to whoever could measure this process; nobody behind the socket can.
pub(super) fn rem_minus_one(value: &[u8], prime: &[u8]) -> Option<Vec<u8>> {
    let mut modulus = prime.to_vec();
    let last = modulus.last_mut().filter(|last| **last & 1 == 1)?;
    *last -= 1;
    // One byte more than the modulus: twice a rest does not run over.
    modulus.insert(0, 0);
    let mut rest = vec![0; modulus.len()];
    for byte in value {
        for bit in (0..8).rev() {
            shift_in(&mut rest, byte >> bit & 1);
            if rest >= modulus {
                subtract(&mut rest, &modulus);
            }
        }
    }
    Some(rest)
}

fn shift_in(number: &mut [u8], mut bit: u8) {
    for byte in number.iter_mut().rev() {
        let out = *byte >> 7;
        *byte = *byte << 1 | bit;
        bit = out;
    }
}

fn subtract(from: &mut [u8], number: &[u8]) {
    let mut borrow = false;
    for (byte, less) in from.iter_mut().rev().zip(number.iter().rev()) {
        let (once, first) = byte.overflowing_sub(*less);
        let (twice, second) = once.overflowing_sub(u8::from(borrow));
        *byte = twice;
        borrow = first || second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_the_machine() {
        let check = |value: u128, prime: u64| {
            let rest = rem_minus_one(&value.to_be_bytes(), &prime.to_be_bytes()).unwrap();
            let found = rest
                .iter()
                .fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
            assert_eq!(found, value % u128::from(prime - 1), "{value} {prime}");
        };
        for prime in [3, 257, 65537, 0xffff_ffff_ffff_ffc5] {
            for value in [0, 1, 255, 0x1234_5678_9abc_def0_1234, u128::MAX] {
                check(value, prime);
            }
        }
        assert_eq!(rem_minus_one(&[9], &[4]), None);
        assert_eq!(rem_minus_one(&[9], &[]), None);
    }
}
