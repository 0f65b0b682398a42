//! Random questions: texts by the grammars, texts of `testdata/` damaged, and small alphabets where
//! chance would never meet a match.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rbuild_testkit::{Dice, Language, damage, repository_root};
use serde_json::{Value, json};

use super::Subject;

/// What patterns and paths are made of.
const PARTS: &[&str] = &[
    "a", "b", "ab", "*", "?", "**", "/", "/", "/", "[a-c]", "[^b]", "\\a", "\\*", ".", "..", "!",
    "#", " ", "é", "-", "]", "[", "^", "a/b", "**/", "/**", "*.a", "[b-a]", "[\\]]", "[a-]", "\t",
    "{", "+", "$", "(", "|", "\\",
];
const NAMES: &[&str] = &[
    "a", "b", "ab", "c", "ba", ".a", "a.a", "é", "*", "-", "a b", "^", "]", "[", "!", "#a", "+",
    "\\", "$",
];
const INSTRUCTIONS: &[&str] = &[
    "add",
    "arg",
    "copy",
    "env",
    "expose",
    "from",
    "healthcheck",
    "label",
    "maintainer",
    "onbuild",
    "run",
    "shell",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];
const VALUES: &[&str] = &[
    "", "a", "a b", "x.y.z", "/a/b", "aXbXc", "*", "\\", "é", "$B", "'q'",
];

/// Everything that questions are made of.
pub struct Source {
    dockerfile: Language,
    words: Language,
    files: Vec<String>,
    ignores: Vec<String>,
}

impl Source {
    /// Reads the grammars and `testdata/`.
    pub fn read() -> Result<Self> {
        let mut source = Self {
            dockerfile: Language::read("dockerfile.ebnf"),
            words: Language::read("shellword.ebnf"),
            files: Vec::new(),
            ignores: Vec::new(),
        };
        source.collect(&repository_root().join("testdata"))?;
        source.files.sort();
        source.ignores.sort();
        Ok(source)
    }

    fn collect(&mut self, folder: &Path) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let into = match () {
                () if path.is_dir() => {
                    self.collect(&path)?;
                    continue;
                }
                () if name.ends_with("ockerfile") => &mut self.files,
                () if name.ends_with("ignore") => &mut self.ignores,
                () => continue,
            };
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            into.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(())
    }

    /// Makes the question of a number; the same number, the same question.
    pub fn question(&self, subject: Subject, seed: u64) -> Value {
        let mut dice = Dice::new(seed);
        match subject {
            Subject::Parse => json!({ "dockerfile": self.dockerfile(seed, &mut dice) }),
            Subject::Word => self.word(seed, &mut dice),
            Subject::Ignore => {
                json!({ "ignore": self.ignore(&mut dice), "paths": paths(&mut dice) })
            }
            Subject::Glob => json!({ "glob": pattern(&mut dice), "paths": paths(&mut dice) }),
        }
    }

    fn dockerfile(&self, seed: u64, dice: &mut Dice) -> String {
        let generator = self.dockerfile.generator(seed);
        let mut text = String::new();
        match dice.below(4) {
            0 => {
                generator.rule("dockerfile", 0, &mut text);
                (0..3).for_each(|_| generator.rule("logical-line", 0, &mut text));
            }
            1 => text = self.splice(dice),
            _ => {
                // One line each: the first error of a file hides all others.
                text.push_str("FROM a\n");
                let instruction = pick(INSTRUCTIONS, dice);
                generator.rule(instruction, 0, &mut text);
                text.push('\n');
                generator.rule("heredocs", 0, &mut text);
            }
        }
        if dice.below(3) == 0 {
            return text;
        }
        damage(&text, dice)
    }

    /// Some lines of one file, some of another.
    fn splice(&self, dice: &mut Dice) -> String {
        let mut text = String::new();
        for _ in 0..=dice.below(2) {
            let lines: Vec<&str> = pick(&self.files, dice).split_inclusive('\n').collect();
            let from = dice.below(lines.len());
            let count = 1 + dice.below(lines.len() - from);
            text.extend(lines.iter().skip(from).take(count).copied());
        }
        text
    }

    fn word(&self, seed: u64, dice: &mut Dice) -> Value {
        let mut word = self.words.text("word", seed);
        if dice.below(2) == 0 {
            word = damage(&word, dice);
        }
        let env: serde_json::Map<String, Value> = ["a", "b", "X", "Y", "0", "1", "abc", "Z"]
            .into_iter()
            .filter_map(|name| {
                let set = dice.below(3) > 0;
                set.then(|| (name.to_owned(), Value::from(pick(VALUES, dice))))
            })
            .collect();
        let mut flag = || dice.below(4) == 0;
        let (raw_quotes, raw_escapes, ignore_quotes) = (flag(), flag(), flag());
        json!({
            "word": word, "env": env, "raw_quotes": raw_quotes, "raw_escapes": raw_escapes,
            "ignore_quotes": ignore_quotes, "skip_unset": flag(),
            "escape": if flag() { "`" } else { "\\" },
        })
    }

    fn ignore(&self, dice: &mut Dice) -> String {
        if dice.below(5) == 0 {
            return damage(pick(&self.ignores, dice), dice);
        }
        let lines = (0..=dice.below(4)).map(|_| {
            let mark = ["", "", "!"][dice.below(3)];
            format!("{mark}{}\n", pattern(dice))
        });
        lines.collect()
    }
}

fn pick<'a, T: AsRef<str>>(all: &'a [T], dice: &mut Dice) -> &'a str {
    all[dice.below(all.len())].as_ref()
}

fn pattern(dice: &mut Dice) -> String {
    (0..=dice.below(6)).map(|_| pick(PARTS, dice)).collect()
}

/// Clean paths, as a walk over a context has them.
fn paths(dice: &mut Dice) -> Vec<String> {
    let path = |dice: &mut Dice| {
        let names: Vec<&str> = (0..=dice.below(4)).map(|_| pick(NAMES, dice)).collect();
        names.join("/")
    };
    (0..12).map(|_| path(dice)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_always_makes_the_same_question() {
        let source = Source::read().unwrap();
        for subject in Subject::ALL {
            for seed in 0..50 {
                let question = source.question(subject, seed);
                assert_eq!(question, source.question(subject, seed));
            }
        }
    }
}
