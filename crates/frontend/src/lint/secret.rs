//! Names of ARG and ENV that promise a secret: values of both stay in the image.

use rbuild_dockerfile::Word;

use crate::Code;
use crate::lower::StageCx;
use crate::stage::Command;

/// Words that promise one.
const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];
/// Words that say that it is none.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Warns of a name that promises a secret.
pub(crate) fn check(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    (instruction, name, word): (&str, &str, &Word),
) {
    if !promises_secret(name) {
        return;
    }
    let quoted = rbuild_dockerfile::quote::go_quote(name);
    let message =
        format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {quoted})");
    let help = "Hand it to the step that needs it: `RUN --mount=type=secret,id=...`.";
    let code = Code::SecretsUsedInArgOrEnv;
    stage.warn(command, (code, message), (Some(word), help));
}

fn promises_secret(name: &str) -> bool {
    let has = |list: &[&str]| {
        name.split('_')
            .any(|word| list.iter().any(|known| known.eq_ignore_ascii_case(word)))
    };
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::promises_secret;

    #[test]
    fn words_are_set_off_by_underscores() {
        for name in ["TOKEN", "my_Password", "NPM_TOKEN_X", "a__key"] {
            assert!(promises_secret(name), "{name}");
        }
        for name in [
            "TOKENS",
            "MONKEY",
            "PUBLIC_KEY",
            "KEY_FILE",
            "key_version",
            "",
        ] {
            assert!(!promises_secret(name), "{name}");
        }
    }
}
