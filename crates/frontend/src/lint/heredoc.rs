//! Here-documents of RUN that go on after a command that fails.

use rbuild_dockerfile::heredoc;
use rbuild_dockerfile::instruction::{CommandForm, RunInstruction};

use crate::Code;
use crate::lower::StageCx;
use crate::stage::Command;

/// Shells, by the last part of their path.
const SHELLS: [&str; 5] = ["sh", "bash", "ash", "dash", "ksh"];

/// Warns of a script of several commands in which only the last one decides.
pub(crate) fn check(stage: &mut StageCx<'_, '_>, command: &Command<'_>, run: &RunInstruction) {
    let line = &run.command;
    let text = line.args.iter().map(|arg| arg.as_str()).collect::<Vec<_>>();
    let is_script =
        line.form != CommandForm::Exec && matches!(heredoc::mark(&text.join(" ")), Ok(Some(_)));
    let [file, ..] = line.files.as_slice() else {
        return;
    };
    if !is_script || stage.state.config.os == "windows" {
        return;
    }
    let shell = match file.data.strip_prefix("#!") {
        Some(rest) => {
            let line = rest.lines().next().unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect()
        }
        None => stage.state.config.config.shell.clone().unwrap_or_default(),
    };
    if goes_on(&file.data) && !stops(&shell) {
        let message = "RUN here-document goes on after a command that fails".to_owned();
        let help = "Begin it with `set -e`, so that the first failure fails the step.";
        stage.warn(
            command,
            (Code::HeredocWithoutErrexit, message),
            (None, help),
        );
    }
}

/// Whether a failure before the end could go unnoticed.
fn goes_on(body: &str) -> bool {
    let lines = body.lines().map(str::trim);
    let commands: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let stops = commands.iter().any(|line| {
        let mut words = line.split([' ', ';', '&']);
        words.next() == Some("set") && has_errexit(words)
    });
    let Some((_, before)) = commands.split_last() else {
        return false;
    };
    let joined = |line: &&str| {
        ["&&", "||", "\\", "|"]
            .iter()
            .any(|end| line.ends_with(end))
    };
    !stops && !before.iter().all(joined)
}

/// Whether the shell itself ends at a failure; a program that is no shell has rules of its own.
fn stops(shell: &[String]) -> bool {
    let mut words = shell.iter().map(String::as_str);
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut program = words.next().map(last);
    if program.as_deref() == Some("env") {
        program = words.next().map(last);
    }
    match program {
        None => false,
        Some(program) => !SHELLS.contains(&program.as_str()) || has_errexit(words),
    }
}

/// Whether options of a shell, or of its `set`, hold `-e` or `-o errexit`.
fn has_errexit<'w>(words: impl Iterator<Item = &'w str>) -> bool {
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.starts_with('-')) else {
            continue;
        };
        if letters.contains('e') || (letters.ends_with('o') && words.peek() == Some(&"errexit")) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{goes_on, stops};

    #[test]
    fn only_the_last_command_decides() {
        for body in [
            "a\nb\n",
            "set -u\na\n",
            "set -o pipefail\na\n",
            "a &&\nb\nc\n",
        ] {
            assert!(goes_on(body), "{body}");
        }
        for body in [
            "",
            "a\n",
            "# x\n\na\n",
            "set -e\na\nb\n",
            "set -eux; a\nb\n",
            "set -uo errexit\na\nb\n",
            "a && \\\nb\n",
            "a ||\nb\n",
        ] {
            assert!(!goes_on(body), "{body}");
        }
    }

    #[test]
    fn shells_may_stop_by_themselves() {
        let check = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            stops(&words)
        };
        for text in [
            "/bin/bash -ec",
            "/bin/sh -e",
            "/usr/bin/env python3",
            "bash -o errexit -c",
        ] {
            assert!(check(text), "{text}");
        }
        for text in ["", "/bin/sh -c", "/usr/bin/env bash", "bash -o pipefail -c"] {
            assert!(!check(text), "{text}");
        }
    }
}
