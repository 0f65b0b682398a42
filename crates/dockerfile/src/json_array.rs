//! JSON arrays of strings: the exec form of an instruction's arguments.
//!
//! Broken JSON is not an error here, it means that the arguments are in another form; so the
//! whole of JSON must be recognised, and nothing but strings is kept. Nested values are checked
//! without recursion: their depth is the author's choice.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, digit0, digit1, one_of};
use nom::combinator::{opt, recognize};
use nom::sequence::pair;
use nom::{IResult, Parser};

/// What the text of the arguments turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonArray<'a> {
    /// An array of strings: each decoded, with its source text, quotes included.
    Strings(Vec<(String, &'a str)>),
    /// A valid array that holds something else; BuildKit refuses it.
    NotStrings,
    /// Not a JSON array.
    NotJson,
}

/// Decides whether `text` is a JSON array of strings, and decodes it.
///
/// Blanks around the array are allowed. Linear in the length of `text`.
///
/// Grammar: dockerfile.ebnf#json-array
pub fn json_array(text: &str) -> JsonArray<'_> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return JsonArray::NotJson;
    }
    match string_array(text) {
        Ok((rest, strings)) if blank(rest).is_empty() => JsonArray::Strings(strings),
        _ if is_json_array(text) => JsonArray::NotStrings,
        _ => JsonArray::NotJson,
    }
}

/// The four blanks of JSON.
fn blank(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\r', '\n'])
}

fn string_array(text: &str) -> IResult<&str, Vec<(String, &str)>> {
    let mut rest = blank(char('[').parse(text)?.0);
    let mut strings = Vec::new();
    if let Some(after) = rest.strip_prefix(']') {
        return Ok((after, strings));
    }
    loop {
        let (after, element) = json_string(rest)?;
        strings.push((element, &rest[..rest.len() - after.len()]));
        rest = blank(after);
        let (after, mark) = one_of(",]").parse(rest)?;
        if mark == ']' {
            return Ok((after, strings));
        }
        rest = blank(after);
    }
}

/// Grammar: dockerfile.ebnf#json-string
fn json_string(text: &str) -> IResult<&str, String> {
    let (mut rest, _) = char('"').parse(text)?;
    let mut out = String::new();
    loop {
        let (after, plain) =
            take_while(|ch: char| ch >= ' ' && ch != '"' && ch != '\\').parse(rest)?;
        out.push_str(plain);
        let (after, mark) = one_of("\"\\").parse(after)?;
        if mark == '"' {
            return Ok((after, out));
        }
        let (after, decoded) = escape(after)?;
        out.push(decoded);
        rest = after;
    }
}

/// Decodes what follows a backslash.
fn escape(text: &str) -> IResult<&str, char> {
    let (rest, mark) = one_of("\"\\/bfnrtu").parse(text)?;
    let decoded = match mark {
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode_escape(rest),
        other => other,
    };
    Ok((rest, decoded))
}

/// Decodes the digits after `\u`; a lone surrogate becomes U+FFFD, as in Go.
fn unicode_escape(text: &str) -> IResult<&str, char> {
    let (rest, high) = four_digits(text)?;
    if let Some(ch) = char::from_u32(high) {
        return Ok((rest, ch));
    }
    let low = tag::<_, _, nom::error::Error<&str>>("\\u")
        .parse(rest)
        .and_then(|(after, _)| four_digits(after));
    match low {
        Ok((after, low)) if high < 0xdc00 && (0xdc00..0xe000).contains(&low) => {
            let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            Ok((after, char::from_u32(code).unwrap_or('\u{fffd}')))
        }
        _ => Ok((rest, '\u{fffd}')),
    }
}

fn four_digits(text: &str) -> IResult<&str, u32> {
    let fault = || {
        nom::Err::Error(nom::error::Error::new(
            text,
            nom::error::ErrorKind::HexDigit,
        ))
    };
    let digits = text.get(..4).ok_or_else(fault)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(fault());
    }
    let value = u32::from_str_radix(digits, 16).map_err(|_| fault())?;
    Ok((&text[4..], value))
}

/// Grammar: dockerfile.ebnf#json-number
fn json_number(text: &str) -> IResult<&str, &str> {
    let exponent = (one_of("eE"), opt(one_of("+-")), digit1);
    let integer = alt((
        recognize(char('0')),
        recognize(pair(one_of("123456789"), digit0)),
    ));
    recognize((
        opt(char('-')),
        integer,
        opt(pair(char('.'), digit1)),
        opt(exponent),
    ))
    .parse(text)
}

/// What may come next while JSON is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// A value.
    Value,
    /// A value or the end of the array just begun.
    ValueOrEnd,
    /// A member's name.
    Name,
    /// A member's name or the end of the object just begun.
    NameOrEnd,
    /// A comma or the end of the innermost array or object.
    Next,
}

/// Says whether the whole text is one valid JSON array.
///
/// Grammar: dockerfile.ebnf#json-value
fn is_json_array(text: &str) -> bool {
    let mut open: Vec<char> = Vec::new();
    let mut rest = blank(text);
    let mut expect = Expect::Value;
    loop {
        match json_step(rest, expect, &mut open) {
            Some((after, next)) => {
                rest = blank(after);
                expect = next;
            }
            None => return false,
        }
        if open.is_empty() {
            return rest.is_empty();
        }
    }
}

/// Takes one token; `None` when it is not what is expected.
fn json_step<'a>(rest: &'a str, expect: Expect, open: &mut Vec<char>) -> Option<(&'a str, Expect)> {
    let first = rest.chars().next()?;
    let after = &rest[first.len_utf8()..];
    let ends = |mark: char| open.last() == Some(&mark);
    match (expect, first) {
        (Expect::Next | Expect::ValueOrEnd, ']') if ends('[') => {
            open.pop();
            Some((after, Expect::Next))
        }
        (Expect::Next | Expect::NameOrEnd, '}') if ends('{') => {
            open.pop();
            Some((after, Expect::Next))
        }
        (Expect::Next, ',') if ends('[') => Some((after, Expect::Value)),
        (Expect::Next, ',') => Some((after, Expect::Name)),
        (Expect::Name | Expect::NameOrEnd, '"') => {
            let after = blank(json_string(rest).ok()?.0);
            Some((after.strip_prefix(':')?, Expect::Value))
        }
        (Expect::Value | Expect::ValueOrEnd, '[') => {
            open.push('[');
            Some((after, Expect::ValueOrEnd))
        }
        (Expect::Value | Expect::ValueOrEnd, '{') => {
            open.push('{');
            Some((after, Expect::NameOrEnd))
        }
        (Expect::Value | Expect::ValueOrEnd, _) => {
            let scalar = alt((
                |text| json_string(text).map(|(rest, _)| (rest, "")),
                json_number,
                literal,
            ))
            .parse(rest)
            .ok()?;
            Some((scalar.0, Expect::Next))
        }
        _ => None,
    }
}

fn literal(text: &str) -> IResult<&str, &str> {
    let (rest, word) = take_while1(|ch: char| ch.is_ascii_lowercase()).parse(text)?;
    if matches!(word, "true" | "false" | "null") {
        Ok((rest, word))
    } else {
        Err(nom::Err::Error(nom::error::Error::new(
            text,
            nom::error::ErrorKind::Tag,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Option<Vec<String>> {
        match json_array(text) {
            JsonArray::Strings(found) => Some(found.into_iter().map(|(text, _)| text).collect()),
            _ => None,
        }
    }

    #[test]
    fn strings_are_decoded() {
        assert_eq!(
            strings(r#" [ "a\tb", "\u00e4\ud83d\ude00", "\ud800x" ] "#),
            Some(vec!["a\tb".into(), "ä😀".into(), "\u{fffd}x".into()])
        );
        assert_eq!(strings("[]"), Some(vec![]));
    }

    #[test]
    fn other_elements_are_refused() {
        for text in [
            "[1]",
            r#"["a",{"b":[null]}]"#,
            "[[[]]]",
            "[-0.5e+3]",
            "[{}]",
        ] {
            assert_eq!(json_array(text), JsonArray::NotStrings, "{text}");
        }
    }

    #[test]
    fn broken_arrays_are_not_json() {
        for text in [
            "['a']",
            r#"["a",]"#,
            r#"["a"] b"#,
            "[01]",
            "[",
            r#"["a"#,
            "[tru]",
            "[}",
        ] {
            assert_eq!(json_array(text), JsonArray::NotJson, "{text}");
        }
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(json_array(&deep), JsonArray::NotStrings);
    }
}
