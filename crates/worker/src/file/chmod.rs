//! `--chmod`: octal, or symbolic relative to the mode of what is copied.

use rbuild_graph::Chmod;

/// What a symbolic mode is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Was {
    /// Permission bits of the source.
    pub mode: u32,
    /// Whether it is a directory: decides what `X` means.
    pub is_dir: bool,
}

/// Returns the permission bits after `chmod`; `None` if its text is no mode.
///
/// Symbolic form as in chmod(1), with umask 0: `[ugoa]*[-+=][rwxXst]*|[ugo]`, separated by commas.
pub(crate) fn apply(chmod: &Chmod, was: Was) -> Option<u32> {
    match chmod {
        Chmod::Octal(mode) => Some(*mode & 0o7777),
        Chmod::Symbolic(text) => text
            .split(',')
            .try_fold(was.mode, |mode, clause| change(mode, clause, was.is_dir)),
    }
}

fn change(mut mode: u32, clause: &str, is_dir: bool) -> Option<u32> {
    let at = clause.find(['+', '-', '='])?;
    let (who, mut rest) = clause.split_at(at);
    let mut classes = 0;
    for letter in who.chars() {
        classes |= match letter {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if who.is_empty() {
        classes = 0o7777;
    }
    while let Some(op) = rest.chars().next() {
        let tail = &rest[1..];
        let end = tail.find(['+', '-', '=']).unwrap_or(tail.len());
        let (letters, next) = tail.split_at(end);
        let bits = bits(letters, mode, is_dir)? & classes;
        mode = match op {
            '+' => mode | bits,
            '-' => mode & !bits,
            // `=` leaves a directory's set-id bits alone, as chmod(1) does.
            _ => {
                let cleared = if is_dir { classes & 0o777 } else { classes };
                (mode & !cleared) | bits
            }
        };
        rest = next;
    }
    Some(mode)
}

/// The bits that letters stand for, for all classes at once.
fn bits(letters: &str, mode: u32, is_dir: bool) -> Option<u32> {
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'r' => 0o444,
            'w' => 0o222,
            'x' => 0o111,
            'X' if is_dir || mode & 0o111 != 0 => 0o111,
            'X' => 0,
            's' => 0o6000,
            't' => 0o1000,
            'u' => spread(mode >> 6),
            'g' => spread(mode >> 3),
            'o' => spread(mode),
            _ => return None,
        };
    }
    Some(bits)
}

fn spread(class: u32) -> u32 {
    (class & 0o7) * 0o111
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, mode: u32, is_dir: bool, expected: Option<u32>) {
        let chmod = Chmod::Symbolic(text.to_owned());
        let got = apply(&chmod, Was { mode, is_dir });
        assert_eq!(got, expected, "{text} on {mode:o}");
    }

    #[test]
    fn symbolic_modes_are_relative() {
        check("u+X,go-rwx", 0o755, false, Some(0o700));
        check("u+X,go-rwx", 0o644, false, Some(0o600));
        check("u+X", 0o644, true, Some(0o744));
        check("a=r", 0o777, false, Some(0o444));
        check("g=u", 0o640, false, Some(0o660));
        check("u=rwx,g=rx,o=", 0o600, false, Some(0o750));
        check("u+s", 0o755, false, Some(0o4755));
        check("+t", 0o755, true, Some(0o1755));
        check("u+r-x", 0o100, false, Some(0o400));
    }

    #[test]
    fn other_text_is_no_mode() {
        for text in ["", "z+r", "u+q", "rwx", "u"] {
            check(text, 0o644, false, None);
        }
    }

    #[test]
    fn octal_replaces_all_bits() {
        let was = Was {
            mode: 0o4755,
            is_dir: false,
        };
        assert_eq!(apply(&Chmod::Octal(0o640), was), Some(0o640));
    }
}
