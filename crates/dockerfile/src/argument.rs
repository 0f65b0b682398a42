//! The argument shapes: JSON or string, words, quote-aware words, name and value, health check.

use nom::branch::alt;
use nom::bytes::complete::{take_till, take_while, take_while1};
use nom::character::complete::{anychar, char as one_char};
use nom::combinator::{opt, recognize};
use nom::error::Error;
use nom::multi::{many0_count, many1_count};
use nom::sequence::pair;
use nom::{IResult, Parser};

use crate::diagnostic::{Code, Fault};
use crate::input::Logical;
use crate::json_array::{JsonArray, json_array};
use crate::keyword::{Keyword, Shape};
use crate::node::{Arguments, Pair, PairStyle, is_blank};
use crate::quote::go_quote;
use crate::word::Word;

/// Splits `rest`, a trimmed slice of the line, by the rule of the keyword.
///
/// Grammar: dockerfile.ebnf#arguments
pub(crate) fn arguments(
    logical: &Logical,
    rest: &str,
    keyword: Keyword,
    escape: char,
) -> Result<Arguments, Fault> {
    match keyword.shape() {
        Shape::JsonOrString => json_or(logical, rest, string),
        Shape::JsonOrWords => json_or(logical, rest, words),
        Shape::Words => Ok(words(logical, rest)),
        Shape::String | Shape::Nested => Ok(string(logical, rest)),
        Shape::NameValues => name_values(logical, rest, keyword, escape),
        Shape::QuotedWords => {
            let found = quoted_words(rest, escape).into_iter();
            Ok(Arguments::Words(
                found.map(|word| logical.word(word)).collect(),
            ))
        }
        Shape::Health => health(logical, rest),
    }
}

/// Reads a JSON array of strings, or falls back to another shape.
///
/// Grammar: dockerfile.ebnf#json-or
fn json_or(
    logical: &Logical,
    rest: &str,
    other: fn(&Logical, &str) -> Arguments,
) -> Result<Arguments, Fault> {
    match json_array(rest) {
        JsonArray::Strings(found) => {
            let word = |(text, source): (String, &str)| Word::new(text, logical.span_of(source));
            Ok(Arguments::Json(found.into_iter().map(word).collect()))
        }
        JsonArray::NotJson => Ok(other(logical, rest)),
        JsonArray::NotStrings => Err(Fault::new(
            Code::JsonNotStrings,
            "when using JSON array syntax, arrays must be comprised of strings only",
            logical.span_of(rest),
        )
        .help("Put every element of the array in double quotes.")),
    }
}

/// Takes the whole rest as one string.
///
/// Grammar: dockerfile.ebnf#string
fn string(logical: &Logical, rest: &str) -> Arguments {
    match rest.is_empty() {
        true => Arguments::Words(Vec::new()),
        false => Arguments::Words(vec![logical.word(rest)]),
    }
}

/// Splits at blanks; quotes stay in the words.
///
/// Grammar: dockerfile.ebnf#words
/// Grammar: dockerfile.ebnf#path
fn words(logical: &Logical, rest: &str) -> Arguments {
    let found = rest.split(is_blank).filter(|word| !word.is_empty());
    Arguments::Words(found.map(|word| logical.word(word)).collect())
}

/// Splits at blanks outside quotes; quotes and escapes stay in the words, an escape character at
/// the very end is dropped.
///
/// Grammar: dockerfile.ebnf#quoted-words
pub fn quoted_words(text: &str, escape: char) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (after, word) = quoted_word(rest, escape).unwrap_or(("", rest));
        let word = match after.is_empty() {
            true => drop_last_escape(word, escape),
            false => word,
        };
        if !word.is_empty() {
            words.push(word);
        }
        rest = after.trim_start();
    }
    words
}

/// Reads one word up to a blank outside quotes.
///
/// Grammar: dockerfile.ebnf#quoted-word
fn quoted_word(text: &str, escape: char) -> IResult<&str, &str> {
    let escaped = || recognize(pair(one_char(escape), opt(anychar)));
    let plain = take_while1(move |ch: char| {
        !ch.is_whitespace() && !matches!(ch, '\'' | '"') && ch != escape
    });
    let single = recognize((
        one_char('\''),
        take_till(|ch| ch == '\''),
        opt(one_char('\'')),
    ));
    let inside = alt((escaped(), take_while1(move |ch| ch != '"' && ch != escape)));
    let double = recognize((one_char('"'), many0_count(inside), opt(one_char('"'))));
    recognize(many1_count(alt((escaped(), plain, single, double)))).parse(text)
}

/// Removes an escape character that ends the line with nothing left to escape.
fn drop_last_escape(word: &str, escape: char) -> &str {
    let Some(without) = word.strip_suffix(escape) else {
        return word;
    };
    // Read the word again to know whether the last one is itself escaped or in single quotes.
    let mut quote = None;
    let mut chars = without.chars();
    while let Some(ch) = chars.next() {
        match (ch, quote) {
            // Escapes the last one.
            (_, None | Some('"')) if ch == escape && chars.next().is_none() => return word,
            (_, None | Some('"')) if ch == escape => {}
            ('\'' | '"', None) => quote = Some(ch),
            (_, Some(open)) if ch == open => quote = None,
            _ => {}
        }
    }
    match quote {
        Some('\'') => word,
        _ => without,
    }
}

/// Reads the arguments of ENV and LABEL.
///
/// Grammar: dockerfile.ebnf#name-values
pub(crate) fn name_values(
    logical: &Logical,
    rest: &str,
    keyword: Keyword,
    escape: char,
) -> Result<Arguments, Fault> {
    let words = quoted_words(rest, escape);
    match words.first() {
        None => Ok(Arguments::Pairs(Vec::new())),
        Some(first) if first.contains('=') => {
            let pairs: Result<Vec<Pair>, Fault> =
                words.iter().map(|word| name_value(logical, word)).collect();
            pairs.map(Arguments::Pairs)
        }
        Some(_) => legacy_pair(logical, rest, keyword),
    }
}

/// Splits `name=value` at the first `=`.
///
/// Grammar: dockerfile.ebnf#name-value
fn name_value(logical: &Logical, word: &str) -> Result<Pair, Fault> {
    let Some((key, value)) = word.split_once('=') else {
        let quoted = go_quote(word);
        let message =
            format!("Syntax error - can't find = in {quoted}. Must be of the form: name=value");
        let fault = Fault::new(Code::InvalidNameValue, message, logical.span_of(word));
        return Err(fault.help("Put a value with blanks in it in quotes, or add the `=`."));
    };
    Ok(Pair {
        key: logical.word(key),
        value: logical.word(value),
        style: PairStyle::Equals,
    })
}

/// Reads `name value` with all of the rest as the value.
///
/// Grammar: dockerfile.ebnf#legacy-pair
fn legacy_pair(logical: &Logical, rest: &str, keyword: Keyword) -> Result<Arguments, Fault> {
    let mut parts = pair(
        take_till::<_, _, Error<&str>>(is_blank),
        take_while1(is_blank),
    );
    let Ok((value, (key, _))) = parts.parse(rest) else {
        let message = format!("{} must have two arguments", keyword.as_str());
        let fault = Fault::new(Code::InvalidNameValue, message, logical.span_of(rest));
        return Err(fault.help(format!("Write `{} name=value`.", keyword.as_str())));
    };
    Ok(Arguments::Pairs(vec![Pair {
        key: logical.word(key),
        value: logical.word(value),
        style: PairStyle::Blank,
    }]))
}

/// Reads the type word of HEALTHCHECK and the command behind it.
///
/// Grammar: dockerfile.ebnf#health
fn health(logical: &Logical, rest: &str) -> Result<Arguments, Fault> {
    let blank = |ch: char| ch.is_whitespace();
    let mut parts = (take_till::<_, _, Error<&str>>(blank), take_while(blank));
    let Ok((command, (kind, _))) = parts.parse(rest) else {
        return Ok(Arguments::Words(Vec::new()));
    };
    if kind.is_empty() {
        return Ok(Arguments::Words(Vec::new()));
    }
    let command = json_or(logical, command, string)?;
    Ok(Arguments::Health(logical.word(kind), Box::new(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_keep_their_quotes() {
        assert_eq!(
            quoted_words(r#" a="b c"d 'e f' g\ h "i\"j" "#, '\\'),
            [r#"a="b c"d"#, "'e f'", r"g\ h", r#""i\"j""#]
        );
    }

    #[test]
    fn open_quotes_run_to_the_end() {
        assert_eq!(quoted_words("a 'b c", '\\'), ["a", "'b c"]);
    }

    #[test]
    fn a_last_escape_is_dropped() {
        assert_eq!(quoted_words(r"a b\", '\\'), ["a", "b"]);
        assert_eq!(quoted_words(r"a b\\", '\\'), ["a", r"b\\"]);
        assert_eq!(quoted_words(r"a '\", '\\'), ["a", r"'\"]);
        assert_eq!(quoted_words(r"a \", '\\'), ["a"]);
    }
}
