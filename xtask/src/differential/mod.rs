//! Asks BuildKit's own packages and our crates the same random questions, and compares the answers.

mod known;
mod oracle;
mod ours;
mod questions;
mod smaller;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::conformance::{first_difference, sort_unordered};
use crate::shell::{say, step};
use oracle::Oracle;
use questions::Source;

/// Differences that are shown of each subject.
const SHOWN: usize = 10;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A whole Dockerfile: lines, flags, here-documents, instructions, errors.
    Parse,
    /// The expansion of a word.
    Word,
    /// An ignore file, and which paths it hides.
    Ignore,
    /// A wildcard of COPY, and which paths it matches.
    Glob,
}

impl Subject {
    const ALL: [Self; 4] = [Self::Parse, Self::Word, Self::Ignore, Self::Glob];

    fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Word => "word",
            Self::Ignore => "ignore",
            Self::Glob => "glob",
        }
    }

    /// The key of the question's text.
    fn key(self) -> &'static str {
        match self {
            Self::Parse => "dockerfile",
            Self::Word => "word",
            Self::Ignore => "ignore",
            Self::Glob => "glob",
        }
    }
}

/// What to ask.
pub struct Options {
    count: u64,
    seed: u64,
    subjects: Vec<Subject>,
}

impl Options {
    /// Reads the words after `differential`.
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self {
            count: 20_000,
            seed: 1,
            subjects: Subject::ALL.to_vec(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--seed" => {
                    let seed = words.next().and_then(|seed| seed.parse().ok());
                    options.seed = seed.context("--seed takes a number")?;
                }
                "--only" => {
                    let name = words.next().copied().unwrap_or_default();
                    let found = Subject::ALL.into_iter().find(|one| one.name() == name);
                    options.subjects = vec![found.context("--only parse, word, ignore or glob")?];
                }
                word => match word.parse() {
                    Ok(count) => options.count = count,
                    Err(_) => bail!("differential has no `{word}`"),
                },
            }
        }
        Ok(options)
    }
}

/// Compares; a difference without a reason is an error.
pub fn differential(options: &Options) -> Result<()> {
    step("The oracle");
    let mut oracle = Oracle::start()?;
    let source = Source::read()?;
    let mut unexplained = 0;
    for subject in &options.subjects {
        step(&format!("Questions about {}", subject.name()));
        unexplained += compare(*subject, &source, &mut oracle, options)?;
    }
    if unexplained > 0 {
        bail!("{unexplained} answers differ without a reason");
    }
    Ok(())
}

/// Compares the answers about one subject; returns how many differ without a reason.
fn compare(
    subject: Subject,
    source: &Source,
    oracle: &mut Oracle,
    options: &Options,
) -> Result<usize> {
    let mut explained: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexplained = 0;
    let mut errors = 0_u64;
    for number in 0..options.count {
        let seed = options.seed.wrapping_mul(1 << 32).wrapping_add(number);
        let question = source.question(subject, seed);
        let want = oracle.ask(&question)?;
        errors += u64::from(is_error(&want));
        match judge(subject, &question, want) {
            Judgement::Equal => {}
            Judgement::Known(reason) => *explained.entry(reason).or_default() += 1,
            Judgement::Differs(difference) => {
                unexplained += 1;
                if unexplained <= SHOWN {
                    show(subject, &question, &difference, oracle)?;
                }
            }
        }
    }
    let known: usize = explained.values().sum();
    say(&format!(
        "{}: {} questions ({errors} about something wrong), {} answers differ, {known} of them with a reason",
        subject.name(),
        options.count,
        known + unexplained,
    ));
    for (reason, count) in explained {
        say(&format!("  {count} × {reason}"));
    }
    Ok(unexplained)
}

fn is_error(answer: &Value) -> bool {
    let some = |key: &str| answer.get(key).is_some_and(|value| !value.is_null());
    some("error") || some("parse_error") || some("instructions_error")
}

enum Judgement {
    Equal,
    Known(&'static str),
    Differs(String),
}

fn judge(subject: Subject, question: &Value, mut want: Value) -> Judgement {
    let mut got = ours::answer(subject, question);
    sort_unordered(&mut want);
    sort_unordered(&mut got);
    let reason = known::reason(subject, question, &want, &got);
    if matches!(subject, Subject::Ignore | Subject::Glob) {
        shorten(&mut got, &mut want);
    }
    let Some(difference) = first_difference("", &want, &got) else {
        return Judgement::Equal;
    };
    match reason {
        Some(reason) => Judgement::Known(reason),
        None => Judgement::Differs(difference),
    }
}

/// Our errors about patterns go on where BuildKit's end: with the line and what is wrong there.
fn shorten(got: &mut Value, want: &mut Value) {
    if let Value::Object(want) = want {
        want.remove("broken");
    }
    let begins =
        |got: &Value, want: &Value| got.as_str()?.starts_with(want.as_str()?).then_some(());
    if begins(&got["error"], &want["error"]).is_some() {
        got["error"] = want["error"].clone();
    }
}

/// The place of a difference, without the numbers of lists.
fn place(difference: &str) -> String {
    let place = difference.split(": want").next().unwrap_or_default();
    place.replace(|ch: char| ch.is_ascii_digit(), "")
}

/// Prints the smallest question found that still differs.
fn show(subject: Subject, question: &Value, difference: &str, oracle: &mut Oracle) -> Result<()> {
    let wanted = place(difference);
    let mut differs = |candidate: &Value| {
        let want = oracle.ask(candidate);
        want.is_ok_and(|want| match judge(subject, candidate, want) {
            // Smaller, but still the same fault.
            Judgement::Differs(other) => place(&other) == wanted,
            _ => false,
        })
    };
    let small = smaller::one_path(question, &mut differs);
    let small = smaller::smaller(&small, subject.key(), &mut differs);
    let want = oracle.ask(&small)?;
    if let Judgement::Differs(difference) = judge(subject, &small, want) {
        say(&format!("{small}\n      {difference}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read() {
        let options = Options::parse(&["500", "--seed", "7", "--only", "glob"]).unwrap();
        assert_eq!((options.count, options.seed), (500, 7));
        assert_eq!(options.subjects, [Subject::Glob]);
        assert!(Options::parse(&["--only", "x"]).is_err());
        assert!(Options::parse(&["x"]).is_err());
    }
}
