//! Arguments that are for FROM lines alone, used by the shell of a RUN.

use std::collections::BTreeSet;

use rbuild_dockerfile::instruction::{CommandForm, RunInstruction};

use crate::Code;
use crate::lower::StageCx;
use crate::stage::Command;

/// Commands that may set any variable.
const READERS: [&str; 3] = [".", "source", "eval"];

/// Warns of each global argument that the shell finds empty, since the stage does not declare it.
///
/// A text that could set the variable itself is left alone: one that names it without a dollar sign,
/// or that reads another script. `set` are variables that mounts set.
pub(crate) fn check(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    (run, set): (&RunInstruction, &[String]),
) {
    if run.command.form == CommandForm::Exec || stage.state.config.os == "windows" {
        return;
    }
    let args = run.command.args.iter().map(|arg| arg.as_str());
    let bodies = run.command.files.iter().filter(|file| file.expand);
    let text = args.chain(bodies.map(|file| file.data.as_str()));
    let text = text.collect::<Vec<_>>().join("\n");
    for name in unset_by_itself(&text) {
        let is_known = stage.state.scope.get(&name).is_some()
            || stage.state.args.iter().any(|arg| arg.name == name)
            || set.contains(&name);
        let globals = &stage.round.outline.globals;
        if is_known || globals.scope.get(&name).is_none() {
            continue;
        }
        let message = format!("Argument '{name}' is set for FROM only and is empty in this RUN");
        let help = format!("Write `ARG {name}` before it, in the same stage.");
        stage.warn(command, (Code::ArgOutOfScope, message), (None, &help));
    }
}

/// The variables that a text for the shell uses and cannot have set itself.
fn unset_by_itself(text: &str) -> BTreeSet<String> {
    let is_separator = |c: char| c.is_whitespace() || ";&|()".contains(c);
    if text.split(is_separator).any(|word| READERS.contains(&word)) {
        return BTreeSet::new();
    }
    let mut used = BTreeSet::new();
    let mut named = BTreeSet::new();
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\'' => {
                quoted = !quoted;
                after
            }
            '\\' => after
                .get(after.chars().next().map_or(0, char::len_utf8)..)
                .unwrap_or(""),
            '$' if !quoted => {
                let braced = after.strip_prefix('{');
                let (name, after) = name(braced.unwrap_or(after));
                if braced.is_none() || !has_substitute(after) {
                    used.insert(name.to_owned());
                }
                after
            }
            c if is_name(c) => {
                let (word, after) = name(rest);
                named.insert(word);
                after
            }
            _ => after,
        };
    }
    used.retain(|name| !named.contains(name.as_str()));
    used
}

/// Whether what follows a name in braces says what to do if it is empty: `-`, `=`, `?` or `+`.
fn has_substitute(rest: &str) -> bool {
    let operator = rest.strip_prefix(':').unwrap_or(rest);
    operator.starts_with(['-', '=', '?', '+'])
}

/// Splits the name that a text begins with from the rest.
fn name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::unset_by_itself;

    fn check(text: &str, wanted: &[&str]) {
        let found: Vec<String> = unset_by_itself(text).into_iter().collect();
        assert_eq!(found, wanted, "{text}");
    }

    #[test]
    fn variables_of_the_shell() {
        check("echo $A \"${B%x}\" '$C' \\$D $$ $", &["", "A", "B"]);
        check("echo ${A:-x} ${B+x} ${C:?x}", &[]);
        check("A=1; echo $A $AB", &["AB"]);
        check("for f in x; do echo $f; done", &[]);
        check("read -r x y; echo $x $z", &["z"]);
        check(". ./env; echo $A", &[]);
        check("echo ä\\", &[]);
    }
}
