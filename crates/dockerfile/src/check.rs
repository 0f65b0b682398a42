//! The options of `# check=`: which build checks to skip, and whether findings are errors.

use nom::bytes::complete::take_till;
use nom::character::complete::char as one_char;
use nom::combinator::rest;
use nom::error::Error;
use nom::sequence::separated_pair;
use nom::{IResult, Parser};

use crate::csv::parse_bool;
use crate::quote::go_quote;

/// Which build checks run, and what becomes of their findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// The checks left out.
    pub skip: Selection,
    /// The experimental checks that run.
    pub experimental: Selection,
    /// Whether a finding fails the build.
    pub error: bool,
}

/// Some or all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every check.
    All,
    /// Those named, in the order given; may be empty.
    Rules(Vec<String>),
}

impl Default for Selection {
    fn default() -> Selection {
        Selection::Rules(Vec::new())
    }
}

impl Selection {
    /// Says whether a check is selected; names are compared exactly.
    pub fn contains(&self, rule: &str) -> bool {
        match self {
            Selection::All => true,
            Selection::Rules(rules) => rules.iter().any(|name| name == rule),
        }
    }

    /// Reads `all` or a list of names.
    ///
    /// Grammar: dockerfile.ebnf#check-selection
    fn parse(value: &str) -> Selection {
        let mut rules = Vec::new();
        for name in value.split(',').map(str::trim) {
            if name == "all" {
                return Selection::All;
            }
            if !name.is_empty() {
                rules.push(name.to_owned());
            }
        }
        Selection::Rules(rules)
    }
}

/// Why check options are refused; the texts are BuildKit's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The option has no value or an unknown name.
    #[error("failed to parse check options: invalid check option {}", go_quote(.0))]
    Option(String),
    /// The value of `error` is no Boolean.
    #[error(
        "failed to parse check options: failed to parse check option {}: strconv.ParseBool: \
         parsing {}: invalid syntax", go_quote("error"), go_quote(.0)
    )]
    Bool(String),
}

impl CheckOptions {
    /// Reads `skip=...;experimental=...;error=...`, in any order, each at most meaningful once:
    /// a later one replaces an earlier one. An empty text has no options.
    ///
    /// Grammar: dockerfile.ebnf#check-options
    pub fn parse(text: &str) -> Result<CheckOptions, CheckError> {
        let mut options = CheckOptions::default();
        if text.is_empty() {
            return Ok(options);
        }
        for part in text.split(';') {
            let part = part.trim();
            let (name, value) = match check_option(part) {
                Ok((_, (name, value))) => (name.trim(), value.trim()),
                Err(_) => return Err(CheckError::Option(part.to_owned())),
            };
            match name {
                "skip" => options.skip = Selection::parse(value),
                "experimental" => options.experimental = Selection::parse(value),
                "error" => {
                    let error = || CheckError::Bool(value.to_owned());
                    options.error = parse_bool(value).ok_or_else(error)?;
                }
                _ => return Err(CheckError::Option(name.to_owned())),
            }
        }
        Ok(options)
    }
}

/// Splits `name=value`.
///
/// Grammar: dockerfile.ebnf#check-option
fn check_option(part: &str) -> IResult<&str, (&str, &str)> {
    let name = take_till::<_, _, Error<&str>>(|ch| ch == '=');
    separated_pair(name, one_char('='), rest).parse(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_in_any_order() {
        let options = CheckOptions::parse("error=true;skip=A, B").expect("valid");
        assert!(options.error && options.skip.contains("B"));
        assert!(!options.experimental.contains("A"));
        let all = CheckOptions::parse("skip=all;experimental=X").expect("valid");
        assert_eq!(all.skip, Selection::All);
        assert_eq!(CheckOptions::parse(""), Ok(CheckOptions::default()));
    }

    #[test]
    fn unknown_options_are_errors() {
        let error = |text| CheckOptions::parse(text).expect_err("wrong").to_string();
        assert_eq!(
            error("foo"),
            "failed to parse check options: invalid check option \"foo\""
        );
        assert_eq!(
            error("foo=1"),
            "failed to parse check options: invalid check option \"foo\""
        );
    }
}
