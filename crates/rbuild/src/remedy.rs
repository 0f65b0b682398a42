//! What to do about what git says.

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

/// A sentence for what git said, if there is one.
pub(crate) fn of_git(said: &str) -> Option<&'static str> {
    let found = REMEDIES
        .iter()
        .find(|(fragment, _)| said.contains(fragment));
    found.map(|(_, remedy)| *remedy)
}
