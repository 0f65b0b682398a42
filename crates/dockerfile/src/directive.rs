//! Parser directives: `# name=value` lines at the very top.

use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::{char as one_char, satisfy};
use nom::combinator::{recognize, rest};
use nom::sequence::{pair, terminated};
use nom::{IResult, Parser};

use crate::ast::Directives;
use crate::input::narrow;
use crate::source::{Span, Spanned};

/// The directives there are; any other name ends the block.
const KNOWN: [&str; 3] = ["syntax", "escape", "check"];

/// What a line at the top of the file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Top<'a> {
    /// A directive: its name in lower case and its value.
    Directive(&'static str, &'a str),
    /// A directive that was there before.
    Repeated(&'static str),
    /// Anything else: no directives follow.
    End,
}

/// Reads lines as long as they are directives.
#[derive(Debug, Default)]
pub(crate) struct Block {
    seen: Vec<&'static str>,
    done: bool,
}

/// The blanks of a regular expression: no vertical tab among them.
fn is_blank(ch: char) -> bool {
    matches!(ch, '\t' | '\n' | '\x0c' | '\r' | ' ')
}

/// Splits `name = value`; blanks around both are left out.
///
/// Grammar: dockerfile.ebnf#directive
fn directive(text: &str) -> IResult<&str, (&str, &str)> {
    let name = recognize(pair(
        satisfy(|ch| ch.is_ascii_alphabetic()),
        take_while(|ch: char| ch.is_ascii_alphanumeric()),
    ));
    let equals = (take_while(is_blank), one_char('='));
    let (left, (name, value)) = pair(terminated(name, equals), rest).parse(text)?;
    let trimmed = value.trim_matches(is_blank);
    if !trimmed.is_empty() {
        return Ok((left, (name, trimmed)));
    }
    // A value of blanks only is its last blank, an empty one is no directive.
    let (_, some) = take_while1(is_blank).parse(value)?;
    Ok((left, (name, &some[some.len() - 1..])))
}

impl Block {
    /// Reads the next line, which begins with `comment` (`#` or `//`) if it is a directive.
    pub(crate) fn read<'a>(&mut self, line: &'a str, comment: &str) -> Top<'a> {
        if self.done {
            return Top::End;
        }
        let found = line
            .strip_prefix(comment)
            .and_then(|text| directive(text.trim_start_matches(is_blank)).ok())
            .and_then(|(_, (name, value))| {
                let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(name));
                known.map(|name| (*name, value))
            });
        match found {
            None => {
                self.done = true;
                Top::End
            }
            Some((name, _)) if self.seen.contains(&name) => Top::Repeated(name),
            Some((name, value)) => {
                self.seen.push(name);
                Top::Directive(name, value)
            }
        }
    }
}

/// Looks up `syntax` and `check` in the raw text, as BuildKit does before it parses: a first line
/// `#!...` is skipped, lines must not be indented; `syntax` may also stand in `//` comments or in
/// a JSON document.
pub(crate) fn detect(text: &str) -> Directives {
    let after_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
    let body = match after_mark.split_once('\n') {
        Some((first, body)) if first.starts_with("#!") => body,
        None if after_mark.starts_with("#!") => "",
        _ => after_mark,
    };
    let base = text.len() - body.len();
    let find = |name, comment| look_up(body, base, name, comment);
    Directives {
        syntax: find("syntax", "#")
            .or_else(|| find("syntax", "//"))
            .or_else(|| json_syntax(body)),
        check: find("check", "#"),
        ..Directives::default()
    }
}

fn look_up(body: &str, base: usize, name: &str, comment: &str) -> Option<Spanned<String>> {
    let mut block = Block::default();
    for line in body.lines() {
        match block.read(line, comment) {
            Top::Directive(found, value) if found == name => {
                let start = base + (value.as_ptr() as usize - body.as_ptr() as usize);
                let span = Span::new(narrow(start), narrow(start + value.len()));
                let value = value.to_owned();
                return Some(Spanned { value, span });
            }
            Top::Directive(..) => {}
            Top::Repeated(_) | Top::End => return None,
        }
    }
    None
}

/// Reads `{"syntax": "..."}`.
fn json_syntax(body: &str) -> Option<Spanned<String>> {
    if !body.trim_start().starts_with('{') {
        return None;
    }
    let document: serde_json::Map<String, serde_json::Value> = serde_json::from_str(body).ok()?;
    let value = document.get("syntax")?.as_str()?.to_owned();
    let span = Span::default();
    Some(Spanned { value, span })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syntax(text: &str) -> Option<String> {
        detect(text).syntax.map(|found| found.value)
    }

    #[test]
    fn syntax_is_found_in_all_its_forms() {
        assert_eq!(syntax("# SYNTAX = a b \nFROM x").as_deref(), Some("a b"));
        assert_eq!(syntax("#!/x\n#syntax=a\n").as_deref(), Some("a"));
        assert_eq!(syntax("// syntax=a\n").as_deref(), Some("a"));
        assert_eq!(syntax("{\"syntax\": \"a\"}").as_deref(), Some("a"));
        assert_eq!(syntax("\u{feff}# syntax=a").as_deref(), Some("a"));
    }

    #[test]
    fn the_block_ends_at_the_first_other_line() {
        for text in [
            " # syntax=a",
            "\n# syntax=a",
            "# x\n# syntax=a",
            "# x=y\n# syntax=a",
            "#\x0bsyntax=a",
        ] {
            assert_eq!(syntax(text), None, "{text:?}");
        }
    }

    #[test]
    fn spans_cover_the_value() {
        let text = "#!/x\n# check = skip=all\n";
        let check = detect(text).check.expect("found");
        assert_eq!(check.span.of(text), "skip=all");
    }
}
