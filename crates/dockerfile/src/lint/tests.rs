//! What each rule finds.

use crate::parse::parse;

/// The findings of a text as `rule line: message`.
fn found(text: &str) -> Vec<String> {
    let parsed = parse(text);
    let lint = parsed.lint.iter();
    lint.map(|found| {
        let line = found.lines.first;
        format!("{} {line}: {}", found.code.as_str(), found.message)
    })
    .collect()
}

/// What the findings point at.
fn pointed(text: &str) -> Vec<&str> {
    let parsed = parse(text);
    parsed.lint.iter().map(|f| f.span.of(text)).collect()
}

#[test]
fn as_follows_from() {
    let check = |text: &str, wanted: &[&str]| assert_eq!(found(text), wanted, "{text}");
    let finding =
        |as_, from| format!("FromAsCasing 1: '{as_}' and '{from}' keywords' casing do not match");
    check("FROM a AS b\n", &[]);
    check("from a as b\n", &[]);
    check("FROM a as b\n", &[&finding("as", "FROM")]);
    check("from a AS b\n", &[&finding("AS", "from")]);
    // A keyword in both cases is another rule's.
    let mixed = "ConsistentInstructionCasing 1: Command 'From' should match the case of the \
                 command majority (uppercase)";
    check("From a as b\n", &[mixed]);
    assert_eq!(pointed("FROM a as b\n"), ["as"]);
}

#[test]
fn lower_case_needs_a_true_majority() {
    let finding = |line, word, case| {
        format!(
            "ConsistentInstructionCasing {line}: Command '{word}' should match the case of the \
             command majority ({case})"
        )
    };
    assert_eq!(found("FROM a\nrun b\n"), [finding(2, "run", "uppercase")]);
    assert_eq!(
        found("FROM a\nrun b\nrun c\n"),
        [finding(1, "FROM", "lowercase")]
    );
    // Neither counted nor looked at.
    assert!(found("arg a\narg b\nFROM a\n").is_empty());
    assert_eq!(pointed("FROM a\nRun b\n"), ["Run"]);
}

#[test]
fn names_of_stages_are_lower_case_and_unique() {
    assert_eq!(
        found("FROM a AS Build\nFROM a AS build\nFROM a AS context\n"),
        [
            "StageNameCasing 1: Stage name 'Build' should be lowercase",
            "DuplicateStageName 2: Duplicate stage name \"build\", stage names should be unique",
            "ReservedStageName 3: Stage name should not use the same name as reserved stage \
             \"context\"",
        ]
    );
    assert_eq!(pointed("FROM a AS Build\n"), ["Build"]);
}

#[test]
fn maintainer_is_a_label_now() {
    let text = "FROM a\nMAINTAINER me\n";
    assert_eq!(
        found(text),
        ["MaintainerDeprecated 2: Maintainer instruction is deprecated in favor of using label"]
    );
}

#[test]
fn comments_describe_what_stands_below() {
    let finding = |line, what, example| {
        format!(
            "InvalidDefinitionDescription {line}: Comment for {what} should follow the format: \
             `# {example} <description>`"
        )
    };
    assert!(found("# v the version\nARG v\nFROM a\n").is_empty());
    assert!(found("# whatever\n#\nARG v\nFROM a\n").is_empty());
    assert_eq!(
        found("# v is\n# the version\nARG v\nFROM a\n"),
        [finding(3, "ARG", "v")]
    );
    assert_eq!(
        found("# the versions\nARG v w\nFROM a\n"),
        [finding(2, "ARG", "<arg_key>")]
    );
    // A stage without a name has nothing to describe.
    assert_eq!(
        found("# the base\nFROM a\n# the tool\nFROM a AS tool\n"),
        [finding(4, "FROM", "tool")]
    );
}

#[test]
fn a_file_with_errors_is_looked_at_line_by_line_only() {
    assert_eq!(
        found("FROM a as b\nRUNN c\nrun d\n"),
        ["FromAsCasing 1: 'as' and 'FROM' keywords' casing do not match"]
    );
}
