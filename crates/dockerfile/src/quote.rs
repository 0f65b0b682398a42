//! Quoting of text in messages the way BuildKit's messages have it.

use std::fmt::Write;

/// Quotes `text` in double quotes with Go's escapes (`%q`).
///
/// Source: Go, package strconv, Quote.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for ch in text.chars() {
        push_escaped(&mut out, ch);
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, ch: char) {
    match ch {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        ' '..='~' => out.push(ch),
        _ if is_printable(ch) => out.push(ch),
        // Writing to a String cannot fail.
        _ if (ch as u32) < 0x80 => drop(write!(out, "\\x{:02x}", ch as u32)),
        _ if (ch as u32) < 0x1_0000 => drop(write!(out, "\\u{:04x}", ch as u32)),
        _ => drop(write!(out, "\\U{:08x}", ch as u32)),
    }
}

/// Says whether `ch` is shown as itself: letters, marks, numbers, punctuation and symbols.
fn is_printable(ch: char) -> bool {
    // Rust escapes a combining mark only at the start of a string, so something goes before it.
    let mut buffer = [b'x', 0, 0, 0, 0];
    let len = ch.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..=len]).is_ok_and(|text| text.escape_debug().nth(1) == Some(ch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        assert_eq!(go_quote("a\"b\\\t\x01"), r#""a\"b\\\t\x01""#);
        assert_eq!(go_quote("Ä한\u{a0}\u{301}"), "\"Ä한\\u00a0\u{301}\"");
    }
}
