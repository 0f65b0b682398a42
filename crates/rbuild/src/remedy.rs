//! What to do about what git and registries say.

use rbuild_registry::{CredentialError, Error, Patient};

use crate::doctor::patient;

/// A fragment of what git or ssh says, and what helps.
const REMEDIES: [(&str, &str); 5] = [
    (
        "Permission denied (",
        "the server takes none of the keys: give one that it knows with --ssh default (the agent behind \
         SSH_AUTH_SOCK) or --ssh default=KEYFILE",
    ),
    (
        "IDENTIFICATION HAS CHANGED",
        "the server shows another key than the one in known_hosts; if it was changed for a good reason, \
         `ssh-keygen -R HOST` forgets the old one",
    ),
    (
        "Host key verification failed",
        "the key that the server shows is not trusted; `ssh HOST` shows and keeps it",
    ),
    (
        "terminal prompts disabled",
        "the server wants a login: give one with --secret id=GIT_AUTH_TOKEN.HOST,env=VARIABLE",
    ),
    ("cannot run ssh", "install ssh (Debian: openssh-client)"),
];

/// What to do about something that is missing and may not be asked for.
pub(crate) const OFFLINE: &str = "build once without --offline, which brings it into the store; an image may also come from a file: \
                                  `rbuild load -i FILE`, `rbuild import`";

/// What the system says of a disk or quota that is used up. Jobs in other processes pass it on as text.
const FULL: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// A sentence for a full disk, where the message has none.
pub(crate) fn of_disk(message: &str) -> Option<&'static str> {
    let is_full = FULL.iter().any(|said| message.contains(said));
    (is_full && !message.contains("rbuild prune")).then_some(
        "if it is the store's disk, free some of it with `rbuild prune`, or choose a store on a larger disk \
         with --root",
    )
}

/// A sentence for what git said, if there is one.
pub(crate) fn of_git(said: &str) -> Option<&'static str> {
    let found = REMEDIES
        .iter()
        .find(|(fragment, _)| said.contains(fragment));
    found.map(|(_, remedy)| *remedy)
}

/// A sentence for what went wrong with a registry, if there is one.
pub(crate) fn of_registry(error: &Error) -> Option<String> {
    let registry = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    Some(match error {
        Error::Denied { name, .. } | Error::PushDenied { name, .. } => format!(
            "if the name is right, `rbuild login {0}` gives it a user; `rbuild doctor {1}` shows what was tried",
            registry(name),
            name
        ),
        Error::LoginRefused { .. } => {
            "many registries want an access token in the place of the password".to_owned()
        }
        Error::Tls { host, .. } => format!(
            "if its certificate is signed by an authority of your own, put that one into \
             /etc/docker/certs.d/{host}/ca.crt; `rbuild doctor {}` shows what is trusted",
            patient_named(host)
        ),
        Error::PlainHttp { host } => format!(
            "if it is to be trusted without TLS, name it in RBUILD_INSECURE_REGISTRIES={host}"
        ),
        Error::Unreachable { host, .. } => {
            format!(
                "`rbuild doctor {}` shows the addresses, proxies and mirrors that were tried",
                patient_named(host)
            )
        }
        Error::Offline { .. } => OFFLINE.to_owned(),
        Error::Stalled { host, .. } => {
            format!(
                "`rbuild doctor {}` shows which address, proxy and mirror were tried",
                patient_named(host)
            )
        }
        Error::RateLimited { .. } => {
            "a login often raises the limit (`rbuild login`), a mirror avoids it".to_owned()
        }
        Error::Truncated { .. } | Error::TooLong { .. } | Error::WrongDigest { .. } => {
            "the registry, or something in between, is broken: nothing of it was kept".to_owned()
        }
        Error::Credentials { source, .. } => return of_credentials(source),
        _ => return None,
    })
}

/// A registry in the words that `rbuild doctor` takes for one: `NAME:5000` alone is an image with a tag.
fn patient_named(host: &str) -> String {
    match patient(host) {
        Ok(Patient::Registry(_)) => host.to_owned(),
        _ => format!("{host}/"),
    }
}

/// A sentence for credentials that cannot be looked up, if there is one.
pub(crate) fn of_credentials(error: &CredentialError) -> Option<String> {
    match error {
        CredentialError::Slow { program, .. } => Some(format!(
            "run `{program} list` to see whether it waits for somebody; RBUILD_HELPER_TIMEOUT=SECONDS gives it more time"
        )),
        CredentialError::Start { program, .. } => Some(format!(
            "install {program}, or take it out of credsStore and credHelpers in config.json"
        )),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn doctor_is_advised_in_words_that_mean_the_registry() {
        for host in [
            "registry:5000",
            "registry.example",
            "localhost:5000",
            "127.0.0.1:5000",
        ] {
            let error = Error::Stalled {
                host: host.to_owned(),
                limit: std::time::Duration::from_secs(30),
            };
            let help = of_registry(&error).unwrap();
            let words = help.split('`').nth(1).unwrap();
            let named = words.strip_prefix("rbuild doctor ").unwrap();
            assert_eq!(patient(named), Ok(Patient::Registry(host.to_owned())));
        }
    }
}
