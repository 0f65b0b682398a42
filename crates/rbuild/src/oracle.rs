//! What the parser and the rules make of a Dockerfile, in the form of the conformance corpus.

use rbuild_dockerfile::{Code, Diagnostic, Dockerfile, LineRange, Parsed, Phase, Span};
use rbuild_frontend::{Entitlements, Extent, Known, Linting, LowerRequest, lint};
use rbuild_oci::Platform;
use serde_json::{Value, json};

use crate::lint::{Found, of_frontend, of_parser, violation};
use crate::places::Places;
use crate::rule::Standing;
use crate::stand_in::made_up;
use crate::wishes::Wishes;

/// The rule that BuildKit's parser itself checks, before any instruction is looked at.
const CONTINUATION: &str = "NoEmptyContinuation";

/// What the parser makes of a Dockerfile, and what the rules find in it, as one JSON object.
///
/// The keys are those of the conformance corpus. For `lint` and `build_error` no image is looked up:
/// every base is one with a PATH, for linux/amd64; all stages are looked at, and there is no build
/// context. As BuildKit does, the rules stop at the first error; rules that BuildKit lacks are left
/// out.
pub fn parse_json(file: &str, text: &[u8]) -> String {
    let mut object = rbuild_dockerfile::json::oracle_json(file, text);
    let text = rbuild_dockerfile::decode(text);
    let (found, error) = findings(&text);
    let list: Vec<Value> = found.iter().map(finding_json).collect();
    object["lint"] = list.into();
    object["build_error"] = error.map_or(Value::Null, |(message, lines)| match lines.first {
        0 => json!({"message": message, "line": 0}),
        line => json!({"message": message, "line": line, "end_line": lines.last}),
    });
    object.to_string()
}

fn finding_json(found: &Found) -> Value {
    json!({
        "rule": found.rule.name,
        "message": found.message,
        "line": found.lines.first,
        "end_line": found.lines.last,
    })
}

type Error = (String, LineRange);

/// The findings up to the first error, and that error.
fn findings(text: &str) -> (Vec<Found>, Option<Error>) {
    let parsed = rbuild_dockerfile::parse(text);
    let directive = parsed.dockerfile.directives.check_options();
    let (mut found, error) = match parsed.first_error() {
        Some(error) => (before(&parsed, error), Some(located(error))),
        None => lowered(text, &parsed.dockerfile, of_parser(&parsed)),
    };
    let wishes = match Wishes::read(&parsed, directive.unwrap_or_default()) {
        Ok(wishes) => wishes,
        Err(error) => return (Vec::new(), Some((error.to_string(), LineRange::default()))),
    };
    found.retain(|found| found.rule.standing != Standing::Own && wishes.want(found));
    let violation = || Some((violation(&wishes.options, &found)?, LineRange::default()));
    let error = error.or_else(violation);
    (found, error)
}

fn located(error: &Diagnostic) -> Error {
    let lines = match error.code {
        Code::NoStages => LineRange::default(),
        _ => error.lines,
    };
    (error.full_message(), lines)
}

/// What BuildKit finds before it comes to an error of the parser.
fn before(parsed: &Parsed, error: &Diagnostic) -> Vec<Found> {
    if error.phase == Phase::Syntax {
        return Vec::new();
    }
    let mut found = of_parser(parsed);
    let line = error.lines.first;
    found.retain(|found| found.rule.name == CONTINUATION || found.lines.first <= line);
    found
}

/// Adds what lowering finds, up to its first error.
fn lowered(
    text: &str,
    dockerfile: &Dockerfile,
    mut found: Vec<Found>,
) -> (Vec<Found>, Option<Error>) {
    let places = Places::new("Dockerfile", text);
    let mut more = with_made_up_images(dockerfile);
    // What this version cannot do is no fault of the file.
    more.retain(|found| found.code != rbuild_frontend::Code::Unsupported);
    let end = more.iter().position(rbuild_frontend::Diagnostic::is_error);
    found.extend(of_frontend(&places, &more[..end.unwrap_or(more.len())]));
    let error = end.map(|end| {
        let whole = more[end].spans.iter().copied().reduce(Span::join);
        let lines = whole.map(|span| places.lines_of(span));
        (more[end].message.clone(), lines.unwrap_or_default())
    });
    (found, error)
}

fn with_made_up_images(dockerfile: &Dockerfile) -> Vec<rbuild_frontend::Diagnostic> {
    let mut request = LowerRequest::new(Platform::new("linux", "amd64"));
    request.extent = Extent::All;
    // Rights are for the build to ask about, not for the rules.
    request.entitlements = Entitlements {
        network_host: true,
        security_insecure: true,
    };
    let mut known = Known::new();
    loop {
        match lint(dockerfile, &request, &known) {
            Linting::Done(found) => return found,
            Linting::Need(questions) => {
                let answers = questions.into_iter().map(|asked| {
                    let answer = made_up(&asked.image);
                    (asked.image, answer)
                });
                known.images.extend(answers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lint: &[&str], error: &str) {
        let (found, ended) = findings(text);
        let found: Vec<String> = found
            .iter()
            .map(|found| format!("{} {}", found.rule.name, found.lines.first))
            .collect();
        assert_eq!(found, lint, "{text}");
        let ended = ended.map(|(message, lines)| format!("{}: {message}", lines.first));
        assert_eq!(ended.unwrap_or_default(), error, "{text}");
    }

    #[test]
    fn all_stages_are_looked_at_and_no_image() {
        let text = "FROM nowhere AS a\nENV k v\nFROM a as b\nWORKDIR $x\nFROM scratch\n";
        let lint = [
            "FromAsCasing 3",
            "LegacyKeyValueFormat 2",
            "UndefinedVar 4",
            "WorkdirRelativePath 4",
        ];
        check(text, &lint, "");
    }

    #[test]
    fn rules_stop_at_the_first_error() {
        check(
            "FROM a\nENV k v\nEXPOSE x\nENV k v\n",
            &["LegacyKeyValueFormat 2"],
            "3: invalid containerPort: x",
        );
        check(
            "FROM a as b\nRUNN\nMAINTAINER x\n",
            &["FromAsCasing 1"],
            "2: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
        );
        check(
            "FROM a as b\nENV x\n",
            &[],
            "2: ENV must have two arguments",
        );
    }

    #[test]
    fn own_rules_are_not_buildkits() {
        let text = "# check=error=true\nFROM scratch\nRUN <<E\nx\ny\nE\n";
        check(text, &[], "");
    }

    #[test]
    fn the_directive_is_heeded() {
        check("# check=skip=FromAsCasing\nFROM a as b\n", &[], "");
        check(
            "# check=error=true\nFROM a as b\n",
            &["FromAsCasing 2"],
            "0: lint violation found for rules: FromAsCasing",
        );
        check(
            "# check=experimental=all;skip=all\n# x\nARG y\nFROM a as b\n",
            &["InvalidDefinitionDescription 3"],
            "",
        );
        check(
            "# check=x\nFROM a as b\n",
            &[],
            "0: failed to parse check options: invalid check option \"x\"",
        );
    }
}
