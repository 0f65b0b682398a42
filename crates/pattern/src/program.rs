//! The automaton that all patterns run as.
//!
//! A pattern is a list of tokens; a state is the number of tokens already matched. All states that
//! a path can be in are carried along together, so there is nothing to go back to and hostile
//! patterns (`*a*a*a*b`) cost no more than their length times that of the path.

use crate::class::Class;

/// One piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Exactly this character.
    Char(char),
    /// One character, not a slash.
    One,
    /// One character of a class.
    Class(Class),
    /// Any run without a slash.
    Star,
    /// Any run.
    Rest,
    /// Nothing, or what [`Token::Dirs`] after it matches.
    OptionalDirs,
    /// Any run that ends in a slash.
    Dirs,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    tokens: Vec<Token>,
}

impl Program {
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        Self { tokens }
    }

    /// Whether the whole of `path` matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let mut run = Run::new(&self.tokens);
        chars(path).all(|c| run.step(c)) && run.accepts()
    }

    /// Whether `path` or one of the directories above it matches, in one pass.
    pub(crate) fn matches_or_ancestor(&self, path: &[u8]) -> bool {
        let mut run = Run::new(&self.tokens);
        for c in chars(path) {
            if c == Some('/') && run.accepts() {
                return true;
            }
            if !run.step(c) {
                return false;
            }
        }
        run.accepts()
    }

    /// Whether some path that begins with `prefix` could match; may err on the side of yes.
    pub(crate) fn could_match_from(&self, prefix: &[u8]) -> bool {
        let mut run = Run::new(&self.tokens);
        chars(prefix).all(|c| run.step(c))
    }
}

/// The characters of a path; `None` stands for each byte that is not UTF-8.
fn chars(path: &[u8]) -> impl Iterator<Item = Option<char>> + '_ {
    path.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(Some);
        valid.chain(chunk.invalid().iter().map(|_| None))
    })
}

/// The states reached after some characters.
struct Run<'a> {
    tokens: &'a [Token],
    active: Vec<usize>,
    next: Vec<usize>,
    /// `seen[state] == clock`: the state is already in `next`.
    seen: Vec<u32>,
    clock: u32,
}

impl<'a> Run<'a> {
    fn new(tokens: &'a [Token]) -> Self {
        let seen = vec![0; tokens.len() + 1];
        let mut run = Self {
            tokens,
            active: Vec::new(),
            next: Vec::new(),
            seen,
            clock: 1,
        };
        run.add(0);
        std::mem::swap(&mut run.active, &mut run.next);
        run
    }

    /// Adds a state and those reached from it without a character.
    fn add(&mut self, mut state: usize) {
        loop {
            self.push(state);
            match self.tokens.get(state) {
                Some(Token::Star | Token::Rest) => state += 1,
                Some(Token::OptionalDirs) => {
                    self.push(state + 1);
                    state += 2;
                }
                _ => return,
            }
            // Whatever follows from a state that is already there has been added with it.
            if self.seen[state] == self.clock {
                return;
            }
        }
    }

    fn push(&mut self, state: usize) {
        if self.seen[state] != self.clock {
            self.seen[state] = self.clock;
            self.next.push(state);
        }
    }

    /// Takes one character; false when no state is left.
    fn step(&mut self, c: Option<char>) -> bool {
        let slash = c == Some('/');
        let tokens = self.tokens;
        self.clock += 1;
        self.next.clear();
        for at in 0..self.active.len() {
            let state = self.active[at];
            let Some(token) = tokens.get(state) else {
                continue;
            };
            match token {
                Token::Char(wanted) if c == Some(*wanted) => self.add(state + 1),
                Token::One if !slash => self.add(state + 1),
                // A byte that is not UTF-8 counts as the replacement character, as in Go.
                Token::Class(class) if class.contains(c.unwrap_or('\u{fffd}')) => {
                    self.add(state + 1);
                }
                Token::Star if !slash => self.add(state),
                Token::Rest => self.add(state),
                Token::Dirs => {
                    self.push(state);
                    if slash {
                        self.add(state + 1);
                    }
                }
                _ => {}
            }
        }
        std::mem::swap(&mut self.active, &mut self.next);
        !self.active.is_empty()
    }

    fn accepts(&self) -> bool {
        self.seen[self.tokens.len()] == self.clock
    }
}
