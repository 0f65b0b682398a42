//! `--chmod`: octal bits, or changes relative to the source's mode.

use rbuild_graph::Chmod;

/// Largest octal mode.
const MAX: u32 = 0o7777;

/// Reads a `--chmod`; nothing is none. The error is BuildKit's text.
pub(super) fn parse_chmod(text: &str) -> Result<Option<Chmod>, String> {
    match text.as_bytes() {
        [] => Ok(None),
        [b'0'..=b'9', ..] => octal(text).map(Some),
        _ if text.split(',').all(is_clause) => Ok(Some(Chmod::Symbolic(text.to_owned()))),
        _ => Err("invalid syntax".to_owned()),
    }
}

fn octal(text: &str) -> Result<Chmod, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= MAX => Ok(Chmod::Octal(mode)),
        _ => Err(format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        )),
    }
}

/// `[ugoa]*` and then at least once `[-+=][rwxXstugo]*`.
fn is_clause(text: &str) -> bool {
    let changes = text.trim_start_matches(['u', 'g', 'o', 'a']);
    changes.starts_with(['-', '+', '=']) && changes.chars().all(|c| "-+=rwxXstugo".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_symbolic_modes() {
        let symbolic = |text: &str| Ok(Some(Chmod::Symbolic(text.to_owned())));
        assert_eq!(parse_chmod(""), Ok(None));
        assert_eq!(parse_chmod("0644"), Ok(Some(Chmod::Octal(0o644))));
        assert_eq!(parse_chmod("07777"), Ok(Some(Chmod::Octal(0o7777))));
        for text in ["u+X,go-rwx", "+x", "a=rw", "u=g", "u+x-w", "o="] {
            assert_eq!(parse_chmod(text), symbolic(text));
        }
    }

    #[test]
    fn what_is_no_mode() {
        for text in ["64a", "10000", "99999", "8"] {
            let wanted = format!(
                "invalid chmod parameter: '{text}'. \
                 it should be octal string and between 0 and 07777"
            );
            assert_eq!(parse_chmod(text), Err(wanted));
        }
        for text in ["foo", "u", "u+x,", "u+z"] {
            assert_eq!(
                parse_chmod(text),
                Err("invalid syntax".to_owned()),
                "{text}"
            );
        }
    }
}
