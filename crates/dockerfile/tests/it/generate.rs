//! Random texts by the grammar files, and what must hold for every one of them.

use rbuild_dockerfile::expand::{ExpandMode, expand};
use rbuild_dockerfile::json::oracle_json;
use rbuild_dockerfile::line::read_lines;
use rbuild_testkit::{Dice, Language, damage};
use serde_json::Value;

use crate::invariants::{check_lines, check_pieces, check_printing};

const CASES: u64 = 3000;

#[test]
fn files_by_the_grammar() {
    let language = Language::read("dockerfile.ebnf");
    let mut good = 0;
    for seed in 0..CASES {
        let generator = language.generator(seed);
        let mut text = String::new();
        generator.rule("dockerfile", 0, &mut text);
        (0..4).for_each(|_| generator.rule("logical-line", 0, &mut text));
        check_lines(&text);
        check_printing(&text);
        good += u64::from(oracle_json("", text.as_bytes())["parse_error"].is_null());
        let mut dice = Dice::new(seed + CASES);
        let damaged = damage(&text, &mut dice);
        check_lines(&damaged);
        check_printing(&damaged);
    }
    assert!(
        good * 2 > CASES,
        "only {good} of {CASES} files could be read"
    );
}

#[test]
fn instructions_by_the_grammar() {
    let language = Language::read("dockerfile.ebnf");
    let rules = [
        "add",
        "arg",
        "command",
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
    for (rule, seed) in rules
        .into_iter()
        .flat_map(|rule| (0..200).map(move |seed| (rule, seed)))
    {
        let generator = language.generator(seed);
        let mut text = String::new();
        generator.rule(rule, 0, &mut text);
        text.push('\n');
        generator.rule("heredocs", 0, &mut text);
        check_lines(&text);
        check_printing(&text);
        let file = read_lines(&text);
        // An open quote, flags included, hides the here-documents of a line.
        let single = file.nodes.len() == 1 || text.contains("<<");
        assert!(single, "{rule}: {text:?} {:?}", file.diagnostics);
        let keyword = file.nodes[0]
            .keyword()
            .expect("a keyword")
            .as_str()
            .to_lowercase();
        assert!(keyword == rule || rule == "command", "{rule}: {text:?}");
    }
}

#[test]
fn small_notations_by_the_grammar() {
    let language = Language::read("dockerfile.ebnf");
    for seed in 0..CASES {
        let text = |rule: &str| language.text(rule, seed);
        let duration = text("duration");
        // Anything but a number too large is fine.
        let parsed = rbuild_dockerfile::duration::parse_duration(&duration);
        assert!(
            parsed.is_ok() || duration.len() > 7,
            "{duration:?} {parsed:?}"
        );
        let check = text("check-options");
        rbuild_dockerfile::check::CheckOptions::parse(&check).expect("valid options");
        let array = text("json-array");
        let found = rbuild_dockerfile::json_array::json_array(&array);
        assert!(
            matches!(found, rbuild_dockerfile::json_array::JsonArray::Strings(_)),
            "{array:?}"
        );
        let value = format!("[{}]", text("json-value"));
        let found = rbuild_dockerfile::json_array::json_array(&value);
        assert_ne!(
            found,
            rbuild_dockerfile::json_array::JsonArray::NotJson,
            "{value:?}"
        );
        let strict: Result<Value, _> = serde_json::from_str(&value);
        assert!(strict.is_ok(), "{value:?}");
        drop(rbuild_dockerfile::port::parse_port(&text("port")));
        let mut same = |value: &str| Ok(value.to_owned());
        drop(rbuild_dockerfile::instruction::Mount::parse(
            &text("mount"),
            &mut same,
        ));
    }
}

#[test]
fn words_by_the_grammar() {
    let language = Language::read("shellword.ebnf");
    let env = |name: &str| (name.len() % 2 == 1).then(|| format!("<{name} b>"));
    for seed in 0..CASES * 3 {
        let word = language.text("word", seed);
        // An empty pattern between its slashes looks like the operator `//`.
        let readable = check_pieces(&word, '\\') || word.contains("//");
        assert!(readable, "{word:?} cannot be read");
        let modes = [
            ExpandMode::default(),
            ExpandMode {
                raw_quotes: true,
                raw_escapes: true,
                skip_unset: true,
                ignore_quotes: false,
            },
            ExpandMode {
                ignore_quotes: true,
                ..ExpandMode::default()
            },
        ];
        for mode in modes {
            drop(expand(&word, '\\', &env, mode));
            let damaged = damage(&word, &mut Dice::new(seed));
            drop(expand(&damaged, '`', &env, mode));
        }
    }
}

/// Texts that make careless parsers slow or deep; the test's own time limit is the check.
#[test]
fn hostile_files() {
    let many = 200_000;
    let texts = [
        "\\\n".repeat(many),
        format!("RUN a\\\n{}", "b\\\n".repeat(many)),
        format!("RUN a\\\n{}", "\n".repeat(many)),
        format!("{}FROM a\n", "# comment\n".repeat(many)),
        "ONBUILD ".repeat(8000),
        format!("ONBUILD \\\n{}", "ONBUILD \\\n".repeat(many)),
        format!("RUN {}\n", "<<A ".repeat(15_000)),
        format!("FROM a\nRUN <<A\n{}", "A \n".repeat(many)),
        format!("CMD {}\n", "[".repeat(60_000)),
        format!("ENV {}\n", "a=\"".repeat(20_000)),
        format!("COPY {}\n", "${a:-".repeat(12_000)),
        format!("RUN --a=\\\n{}", "'\\\n\"\\\n".repeat(many)),
        format!("EXPOSE {}\n", "1 ".repeat(30_000)),
        "FROM a\n".repeat(many),
    ];
    for text in texts {
        check_lines(&text);
        let mut slices = vec![text.as_str()];
        slices.extend(text.get(..1000));
        for slice in slices {
            drop(expand(slice, '\\', &|_| None, ExpandMode::default()));
        }
    }
}
