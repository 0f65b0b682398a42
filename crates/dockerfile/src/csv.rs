//! One record of comma-separated values, the notation of `--mount` and `--device`.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::character::complete::char as one_char;
use nom::multi::fold_many0;
use nom::sequence::delimited;
use nom::{IResult, Parser};

/// Why a record cannot be read; the texts are those of Go's package encoding/csv.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// There is nothing.
    #[error("EOF")]
    Empty,
    /// A quote stands inside an unquoted field.
    #[error("parse error on line 1, column {column}: bare \" in non-quoted-field")]
    BareQuote {
        /// The byte, 1-based.
        column: usize,
    },
    /// A quoted field is not closed, or goes on behind its quote.
    #[error("parse error on line 1, column {column}: extraneous or missing \" in quoted-field")]
    Quote {
        /// The byte, 1-based.
        column: usize,
    },
}

/// Splits a record into its fields.
///
/// Grammar: dockerfile.ebnf#csv
pub(crate) fn fields(text: &str) -> Result<Vec<String>, CsvError> {
    if text.is_empty() {
        return Err(CsvError::Empty);
    }
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let column = |rest: &str| text.len() - rest.len() + 1;
        let after = if rest.starts_with('"') {
            let (after, field) =
                csv_quoted(rest).map_err(|_| CsvError::Quote { column: column("") })?;
            found.push(field);
            after
        } else {
            let (field, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
            if let Some(quote) = field.find('"') {
                let column = column(rest) + quote;
                return Err(CsvError::BareQuote { column });
            }
            found.push(field.to_owned());
            after
        };
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(found),
            None => {
                let column = column(after) - 1;
                return Err(CsvError::Quote { column });
            }
        }
    }
}

/// Reads a quoted field; a doubled quote in it is one.
///
/// Grammar: dockerfile.ebnf#csv-quoted
fn csv_quoted(text: &str) -> IResult<&str, String> {
    let part = alt((tag("\"\"").map(|_| "\""), take_while1(|ch| ch != '"')));
    let inside = fold_many0(part, String::new, |mut all, part: &str| {
        all.push_str(part);
        all
    });
    delimited(one_char('"'), inside, one_char('"')).parse(text)
}

/// Reads a Boolean in any of the notations of Go's `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_hold_commas_and_quotes() {
        assert_eq!(
            fields("a=1,\"b=x,y\",\"c=\"\"q\"\"\",").expect("valid"),
            ["a=1", "b=x,y", "c=\"q\"", ""]
        );
    }

    #[test]
    fn stray_quotes_are_errors() {
        assert_eq!(fields("a\"b"), Err(CsvError::BareQuote { column: 2 }));
        let bare = CsvError::BareQuote { column: 2 }.to_string();
        assert!(bare.ends_with("bare \" in non-quoted-field"));
        assert!(matches!(fields("\"a"), Err(CsvError::Quote { .. })));
        assert!(matches!(fields("\"a\"b"), Err(CsvError::Quote { .. })));
        assert_eq!(fields(""), Err(CsvError::Empty));
    }
}
