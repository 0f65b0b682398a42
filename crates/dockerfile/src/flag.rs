//! Flags of an instruction: `--name=value` words behind the keyword, and what they may be.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while1};
use nom::character::complete::{anychar, char as one_char};
use nom::combinator::{not, opt, peek};
use nom::multi::fold_many0;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use crate::diagnostic::{Code, Fault};
use crate::input::Logical;
use crate::source::Span;
use crate::suggest::{nearest, with_suggestion};
use crate::word::Word;

/// Takes the flags off the front of `rest`; returns what is left, and the flags.
///
/// A lone `--` ends the flags and is dropped.
///
/// Grammar: dockerfile.ebnf#flags
pub(crate) fn flags<'a>(logical: &Logical, rest: &'a str, escape: char) -> (&'a str, Vec<Word>) {
    let mut found = Vec::new();
    let mut rest = rest.trim_start();
    while let Ok((after, text)) = flag(rest, escape) {
        let source = &rest[..rest.len() - after.len()];
        rest = after.trim_start();
        if text == "--" {
            break;
        }
        found.push(Word::new(text, logical.span_of(source)));
    }
    (rest, found)
}

/// Reads one flag; quotes are removed and may hold blanks. The escape character works in both kinds
/// of quotes, as in BuildKit.
///
/// Grammar: dockerfile.ebnf#flag
/// Grammar: dockerfile.ebnf#flag-part
fn flag(text: &str, escape: char) -> IResult<&str, String> {
    let plain =
        take_while1(|ch: char| !ch.is_whitespace() && !matches!(ch, '\'' | '"') && ch != escape);
    let part = alt((
        |input| flag_escape(input, escape),
        |input| flag_quoted(input, '\'', escape),
        |input| flag_quoted(input, '"', escape),
        plain.map(str::to_owned),
    ));
    let join = |mut all: String, part: String| {
        all.push_str(&part);
        all
    };
    preceded(peek(tag("--")), fold_many0(part, String::new, join)).parse(text)
}

/// Reads the escape character and the one it protects; nothing at the end of the line.
///
/// Grammar: dockerfile.ebnf#flag-escape
fn flag_escape(input: &str, escape: char) -> IResult<&str, String> {
    preceded(one_char(escape), opt(anychar))
        .map(|ch| ch.map(String::from).unwrap_or_default())
        .parse(input)
}

/// Reads a quoted part; it may be left open at the end of the line.
///
/// Grammar: dockerfile.ebnf#flag-quoted
fn flag_quoted(input: &str, quote: char, escape: char) -> IResult<&str, String> {
    let plain = preceded(
        peek(not(alt((one_char(quote), one_char(escape))))),
        take_till(move |ch| ch == quote || ch == escape),
    );
    let some = nom::combinator::verify(plain, |text: &str| !text.is_empty());
    let inside = fold_many0(
        alt((|input| flag_escape(input, escape), some.map(str::to_owned))),
        String::new,
        |mut all: String, part| {
            all.push_str(&part);
            all
        },
    );
    delimited(one_char(quote), inside, opt(one_char(quote))).parse(input)
}

/// What values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagKind {
    /// `--name`, `--name=true`, `--name=false`.
    Bool,
    /// `--name=text`, once.
    Text,
    /// `--name=text`, any number of times.
    List,
}

/// A flag that an instruction knows.
pub(crate) type FlagSpec = (&'static str, FlagKind);

/// The flags of one instruction, checked.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: Vec<(&'static str, Word)>,
}

impl Flags {
    /// Checks flags against those that the instruction knows. Errors have BuildKit's texts.
    pub(crate) fn check(flags: &[Word], known: &[FlagSpec]) -> Result<Flags, Fault> {
        let mut checked = Flags::default();
        for flag in flags {
            checked.add(flag, known)?;
        }
        Ok(checked)
    }

    fn add(&mut self, flag: &Word, known: &[FlagSpec]) -> Result<(), Fault> {
        let body = flag.text.strip_prefix("--").unwrap_or(&flag.text);
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let Some((name, kind)) = known.iter().find(|(known, _)| *known == name) else {
            return Err(unknown_flag(name, flag.span, known));
        };
        if *kind != FlagKind::List && self.find(name).is_some() {
            let message = format!("duplicate flag specified: --{name}");
            return Err(Fault::new(Code::DuplicateFlag, message, flag.span));
        }
        let missing = || {
            let message = format!("missing a value on flag: --{name}");
            let fault = Fault::new(Code::InvalidFlagValue, message, flag.span);
            fault.help(format!("Write `--{name}=VALUE`."))
        };
        let text = match (kind, value) {
            (FlagKind::Bool, None) => "true".to_owned(),
            (FlagKind::Bool, Some("")) | (FlagKind::Text | FlagKind::List, None) => {
                return Err(missing());
            }
            (FlagKind::Bool, Some(value)) => boolean(name, value, flag.span)?,
            (FlagKind::Text | FlagKind::List, Some(value)) => value.to_owned(),
        };
        let start = flag.text.len() - value.map_or(0, str::len);
        let span = flag.place(&(start..flag.text.len()));
        self.values.push((name, Word::new(text, span)));
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Word> {
        let mut found = self.values.iter();
        found
            .find(|(used, _)| *used == name)
            .map(|(_, value)| value)
    }

    /// Returns the value of a text flag; an empty one counts as unset.
    pub(crate) fn text(&self, name: &str) -> Option<Word> {
        self.find(name).filter(|value| !value.is_empty()).cloned()
    }

    /// Returns the value of a text flag, also an empty one.
    pub(crate) fn given(&self, name: &str) -> Option<&Word> {
        self.find(name)
    }

    /// Returns the value of a switch, if it was given.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.find(name).map(|value| value.text == "true")
    }

    /// Returns all values of a list flag.
    pub(crate) fn list(&self, name: &str) -> Vec<Word> {
        let used = self.values.iter().filter(|(used, _)| *used == name);
        used.map(|(_, value)| value.clone()).collect()
    }

    /// Returns the names of the flags given, each once.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in &self.values {
            if !names.iter().any(|known| known == name) {
                names.push((*name).to_owned());
            }
        }
        names
    }
}

fn boolean(name: &str, value: &str, span: Span) -> Result<String, Fault> {
    let lower = value.to_lowercase();
    if lower == "true" || lower == "false" {
        return Ok(lower);
    }
    let message = format!("expecting boolean value for flag --{name}, not: {value}");
    let fault = Fault::new(Code::InvalidFlagValue, message, span);
    Err(fault.help(format!(
        "Write `--{name}`, `--{name}=true` or `--{name}=false`."
    )))
}

fn unknown_flag(name: &str, span: Span, known: &[FlagSpec]) -> Fault {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let message = format!("unknown flag: --{name}");
    let message = with_suggestion(message, nearest(name, &names));
    let fault = Fault::new(Code::UnknownFlag, message, span);
    if names.is_empty() {
        return fault.help("This instruction takes no flags.");
    }
    let list: Vec<String> = names.iter().map(|name| format!("--{name}")).collect();
    fault.help(format!("Flags of this instruction: {}.", list.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[&str], rest: &str) {
        check_escape('\\', line, expected, rest);
    }

    fn check_escape(escape: char, line: &str, expected: &[&str], rest: &str) {
        let mut logical = Logical::default();
        logical.push(line, 0);
        let (left, found) = flags(&logical, logical.text(), escape);
        let texts: Vec<&str> = found.iter().map(Word::as_str).collect();
        assert_eq!(texts, expected, "{line}");
        assert_eq!(left, rest, "{line}");
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        check("--a --b=c d --e", &["--a", "--b=c"], "d --e");
        check("--a -- --b", &["--a"], "--b");
        check("--", &[], "");
        check("-a", &[], "-a");
    }

    #[test]
    fn quotes_in_flags_are_removed() {
        check(
            r#"--mount="type=tmpfs,target=/a b" --x='a\'b'\ c d"#,
            &["--mount=type=tmpfs,target=/a b", "--x=a'b c"],
            "d",
        );
        check(r#"--x="open"#, &["--x=open"], "");
    }

    #[test]
    fn the_escape_character_in_flags_is_that_of_the_directive() {
        check_escape('`', r#"--x=C:\a` b\ d"#, &[r"--x=C:\a b\"], "d");
        check_escape('`', r#"--x="a`"b\" d"#, &[r#"--x=a"b\"#], "d");
        check_escape('`', r"--x=a`", &["--x=a"], "");
    }
}
