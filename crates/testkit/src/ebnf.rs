//! Reads the grammar files; their notation is described in `grammar/README.md`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::repository_root;

/// An expression of a rule.
#[derive(Clone, Debug)]
pub enum Expression {
    /// One of several.
    Choice(Vec<Expression>),
    /// One after the other.
    Sequence(Vec<Expression>),
    /// At most once.
    Optional(Box<Expression>),
    /// Any number of times.
    Repeated(Box<Expression>),
    /// This text.
    Text(String),
    /// This text in any case.
    AnyCase(String),
    /// One of these characters, or one of all others.
    Set {
        /// Whether the characters are those that may not stand there.
        excluded: bool,
        /// The characters, as inclusive ranges.
        ranges: Vec<(char, char)>,
    },
    /// Another rule.
    Rule(String),
    /// Words.
    Special(String),
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The function that implements it, as `crate::module::function`.
    pub function: String,
    /// What it accepts.
    pub expression: Expression,
}

/// The rules of a file by name.
pub type Grammar = BTreeMap<String, Rule>;

/// The folder of the grammar files.
pub fn folder() -> PathBuf {
    repository_root().join("grammar")
}

/// Reads a grammar file; panics, with the place, when it is not well formed.
pub fn read(name: &str) -> Grammar {
    let text = std::fs::read_to_string(folder().join(name)).expect("grammar file");
    let mut reader = Reader {
        name,
        rest: &text,
        whole: &text,
    };
    let mut grammar = Grammar::new();
    while let Some((rule, body)) = reader.rule() {
        assert!(
            grammar.insert(rule.clone(), body).is_none(),
            "{name}: {rule} twice"
        );
    }
    for rule in grammar.values() {
        check_names(name, &grammar, &rule.expression);
    }
    grammar
}

fn check_names(name: &str, grammar: &Grammar, expression: &Expression) {
    match expression {
        Expression::Choice(all) | Expression::Sequence(all) => {
            all.iter().for_each(|part| check_names(name, grammar, part));
        }
        Expression::Optional(part) | Expression::Repeated(part) => {
            check_names(name, grammar, part);
        }
        Expression::Rule(rule) => {
            assert!(grammar.contains_key(rule), "{name}: no rule {rule}");
        }
        _ => {}
    }
}

struct Reader<'a> {
    name: &'a str,
    rest: &'a str,
    whole: &'a str,
}

impl Reader<'_> {
    fn fail(&self, what: &str) -> ! {
        let read = &self.whole[..self.whole.len() - self.rest.len()];
        let line = read.matches('\n').count() + 1;
        panic!("{}:{line}: {what}", self.name);
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, mark: &str) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn until(&mut self, mark: &str) -> String {
        let Some((text, rest)) = self.rest.split_once(mark) else {
            self.fail(&format!("no {mark}"));
        };
        self.rest = rest;
        text.trim().to_owned()
    }

    fn word(&mut self) -> String {
        self.skip_blanks();
        let end = self
            .rest
            .find(|ch: char| !ch.is_ascii_lowercase() && ch != '-')
            .unwrap_or(self.rest.len());
        if end == 0 {
            self.fail("no rule name");
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn rule(&mut self) -> Option<(String, Rule)> {
        let mut function = None;
        while self.take("(*") {
            let remark = self.until("*)");
            if let Some(path) = remark.strip_prefix('=') {
                function = Some(path.trim().to_owned());
            }
        }
        if self.rest.is_empty() {
            return None;
        }
        let name = self.word();
        let Some(function) = function else {
            self.fail(&format!("rule {name} names no function"));
        };
        if !self.take("=") {
            self.fail("no =");
        }
        let expression = self.choice();
        if !self.take(";") {
            self.fail("no ;");
        }
        Some((
            name,
            Rule {
                function,
                expression,
            },
        ))
    }

    fn choice(&mut self) -> Expression {
        let mut all = vec![self.sequence()];
        while self.take("|") {
            all.push(self.sequence());
        }
        match all.len() {
            1 => all.remove(0),
            _ => Expression::Choice(all),
        }
    }

    fn sequence(&mut self) -> Expression {
        let mut all = Vec::new();
        loop {
            self.skip_blanks();
            match self.rest.chars().next() {
                None | Some('|' | ';' | ')' | ']' | '}') => return Expression::Sequence(all),
                Some(_) => all.push(self.item()),
            }
        }
    }

    fn closed(&mut self, mark: &str) -> Box<Expression> {
        let inner = self.choice();
        if !self.take(mark) {
            self.fail(&format!("no {mark}"));
        }
        Box::new(inner)
    }

    fn item(&mut self) -> Expression {
        if self.take("[") {
            Expression::Optional(self.closed("]"))
        } else if self.take("{") {
            Expression::Repeated(self.closed("}"))
        } else if self.take("(") {
            *self.closed(")")
        } else if self.take("\"") {
            Expression::Text(self.chars('"').into_iter().map(|(ch, _)| ch).collect())
        } else if self.take("'") {
            Expression::AnyCase(self.chars('\'').into_iter().map(|(ch, _)| ch).collect())
        } else if self.take("?") {
            Expression::Special(self.until("?"))
        } else if self.take("<") {
            let chars = self.chars('>');
            self.set(&chars)
        } else {
            Expression::Rule(self.word())
        }
    }

    /// Reads characters up to `end`, each with whether it was escaped.
    fn chars(&mut self, end: char) -> Vec<(char, bool)> {
        let mut found = Vec::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next() {
                None => self.fail(&format!("no {end}")),
                Some(ch) if ch == end => break,
                Some('\\') => {
                    let ch = match chars.next() {
                        Some('n') => '\n',
                        Some('r') => '\r',
                        Some('t') => '\t',
                        Some('v') => '\x0b',
                        Some('f') => '\x0c',
                        Some('u') if chars.as_str().starts_with('{') => {
                            let (code, rest) = chars.as_str()[1..].split_once('}').expect("code");
                            chars = rest.chars();
                            let code = u32::from_str_radix(code, 16).expect("hexadecimal");
                            char::from_u32(code).expect("character")
                        }
                        Some(ch) => ch,
                        None => self.fail("escape at the end"),
                    };
                    found.push((ch, true));
                }
                Some(ch) => found.push((ch, false)),
            }
        }
        self.rest = chars.as_str();
        found
    }

    fn set(&mut self, chars: &[(char, bool)]) -> Expression {
        let excluded = chars.first() == Some(&('^', false));
        let mut rest = &chars[usize::from(excluded)..];
        let mut ranges = Vec::new();
        while let Some(&(low, _)) = rest.first() {
            match rest {
                [_, ('-', false), (high, _), ..] => {
                    ranges.push((low, *high));
                    rest = &rest[3..];
                }
                _ => {
                    ranges.push((low, low));
                    rest = &rest[1..];
                }
            }
        }
        Expression::Set { excluded, ranges }
    }
}
