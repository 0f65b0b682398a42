//! Writes random texts by the rules of a grammar file.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use crate::ebnf::{self, Expression, Grammar};

/// Characters of which sets that exclude some choose.
const POOL: &str =
    "abcXYZ019_-./:,=+*?!#$%@&|~^;<>()[]{}\"'`\\ \t\u{b}\u{c}\r\näß한\u{a0}\u{301}😀\u{feff}\0";
/// Beyond this depth only the shortest way out is taken.
const DEPTH: usize = 40;
/// A small generator of numbers; the same seed gives the same texts everywhere.
pub struct Dice(u64);

impl Dice {
    /// Begins the series of `seed`.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number from 0 to `limit` - 1; 0 when `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// A grammar, and how deep each of its rules must at least go.
pub struct Language {
    grammar: Grammar,
    costs: BTreeMap<String, usize>,
}

impl Language {
    /// Reads a file of the folder `grammar`.
    pub fn read(file: &str) -> Language {
        let grammar = ebnf::read(file);
        let costs = costs(&grammar);
        Language { grammar, costs }
    }

    /// Writes one text by `rule`.
    pub fn text(&self, rule: &str, seed: u64) -> String {
        let mut out = String::new();
        self.generator(seed).rule(rule, 0, &mut out);
        out
    }

    /// Begins a series of texts that belong together: names of here-documents are remembered.
    pub fn generator(&self, seed: u64) -> Generator<'_> {
        Generator {
            language: self,
            dice: RefCell::new(Dice::new(seed)),
            names: RefCell::default(),
            directives: RefCell::default(),
        }
    }
}

/// Writes texts, one behind the other.
pub struct Generator<'a> {
    language: &'a Language,
    dice: RefCell<Dice>,
    /// Here-documents whose bodies are still to come.
    names: RefCell<VecDeque<String>>,
    /// Directives that are there.
    directives: RefCell<Vec<String>>,
}

impl Generator<'_> {
    fn roll(&self, limit: usize) -> usize {
        self.dice.borrow_mut().below(limit)
    }

    /// Adds a text by `rule`; `depth` is 0 but for rules inside others.
    pub fn rule(&self, rule: &str, depth: usize, out: &mut String) {
        match rule {
            // One for each word, not any number.
            "heredocs" => {
                while !self.names.borrow().is_empty() {
                    self.rule("heredoc-body", depth + 1, out);
                }
            }
            // Each of them once.
            "directive-line" => {
                let mut text = String::new();
                self.write(
                    &self.language.grammar[rule].expression,
                    depth + 1,
                    &mut text,
                );
                let name = text[..text.find('=').unwrap_or(0)]
                    .replace(['#', ' '], "")
                    .to_lowercase();
                if !self.directives.borrow().contains(&name) {
                    self.directives.borrow_mut().push(name);
                    out.push_str(&text);
                }
            }
            "instruction" => {
                self.names.borrow_mut().clear();
                let mut text = String::new();
                self.write(
                    &self.language.grammar[rule].expression,
                    depth + 1,
                    &mut text,
                );
                self.spread(&text, out);
            }
            "heredoc-name" => {
                let start = out.len();
                self.write(&self.language.grammar[rule].expression, depth + 1, out);
                self.names.borrow_mut().push_back(out[start..].to_owned());
            }
            _ => self.write(&self.language.grammar[rule].expression, depth + 1, out),
        }
    }

    /// Puts continuations into an instruction where they may stand.
    fn spread(&self, text: &str, out: &mut String) {
        let mut before = '\\';
        for ch in text.chars() {
            let may_stand = before != '\\' && !matches!(ch, '\\' | '#') && !ch.is_whitespace();
            if may_stand && self.roll(40) == 0 {
                self.rule("continuation", DEPTH / 2, out);
                while self.roll(3) == 0 {
                    let rule = ["comment", "blank-line"][self.roll(2)];
                    self.rule(rule, DEPTH / 2, out);
                }
            }
            out.push(ch);
            before = ch;
        }
    }

    fn write(&self, expression: &Expression, depth: usize, out: &mut String) {
        match expression {
            Expression::Choice(all) if depth > DEPTH => {
                let shortest = all
                    .iter()
                    .min_by_key(|part| cost(part, &self.language.costs));
                self.write(shortest.expect("some choice"), depth + 1, out);
            }
            Expression::Choice(all) => self.write(&all[self.roll(all.len())], depth + 1, out),
            Expression::Sequence(all) => {
                all.iter().for_each(|part| self.write(part, depth + 1, out))
            }
            Expression::Optional(part) => {
                if depth <= DEPTH && self.roll(2) == 0 {
                    self.write(part, depth + 1, out);
                }
            }
            Expression::Repeated(part) => {
                while depth <= DEPTH && self.roll(4 + depth / 2) < 3 {
                    self.write(part, depth + 4, out);
                }
            }
            Expression::Text(text) => out.push_str(text),
            Expression::AnyCase(text) => {
                let lower = self.roll(4);
                out.extend(text.chars().map(|ch| match lower {
                    0 => ch.to_ascii_lowercase(),
                    1 if self.roll(2) == 0 => ch.to_ascii_lowercase(),
                    _ => ch,
                }));
            }
            Expression::Set { excluded, ranges } => out.push(self.member(*excluded, ranges)),
            Expression::Rule(rule) => self.rule(rule, depth, out),
            Expression::Special(words) => {
                assert_eq!(words, "the name in the word");
                let name = self.names.borrow_mut().pop_front();
                out.push_str(&name.unwrap_or_default());
            }
        }
    }

    fn member(&self, excluded: bool, ranges: &[(char, char)]) -> char {
        let inside = |ch: &char| ranges.iter().any(|(low, high)| (low..=high).contains(&ch));
        if excluded {
            let others: Vec<char> = POOL.chars().filter(|ch| !inside(ch)).collect();
            return others[self.roll(others.len())];
        }
        let (low, high) = ranges[self.roll(ranges.len())];
        let all: Vec<char> = (low..=high).collect();
        all[self.roll(all.len())]
    }
}

/// The least depth of rules below an expression; unknown ones are infinitely deep.
fn cost(expression: &Expression, costs: &BTreeMap<String, usize>) -> usize {
    match expression {
        Expression::Choice(all) => all.iter().map(|part| cost(part, costs)).min().unwrap_or(0),
        Expression::Sequence(all) => all.iter().map(|part| cost(part, costs)).max().unwrap_or(0),
        Expression::Rule(rule) => {
            let below = costs.get(rule).copied();
            below.unwrap_or(usize::MAX - 1).saturating_add(1)
        }
        _ => 0,
    }
}

fn costs(grammar: &Grammar) -> BTreeMap<String, usize> {
    let mut costs = BTreeMap::new();
    for _ in 0..=grammar.len() {
        for (name, rule) in grammar {
            let found = cost(&rule.expression, &costs);
            if found < usize::MAX - 1 {
                costs.insert(name.clone(), found);
            }
        }
    }
    costs
}

/// Damages a text: some bytes cut, doubled or replaced.
pub fn damage(text: &str, dice: &mut Dice) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=dice.below(4) {
        let at = dice.below(chars.len().max(1));
        match dice.below(4) {
            0 => chars.truncate(at),
            1 if at < chars.len() => drop(chars.remove(at)),
            2 if at < chars.len() => chars.insert(at, chars[at]),
            _ => chars.insert(
                at.min(chars.len()),
                POOL.chars().nth(dice.below(60)).unwrap_or('x'),
            ),
        }
    }
    chars.into_iter().collect()
}
