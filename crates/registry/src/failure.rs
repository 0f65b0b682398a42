//! From an answer that is no success to an error with the registry's own words.

use rbuild_oci::{Digest, Reference};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use crate::Error;
use crate::body::read_limited;
use crate::endpoint::authority;
use crate::retry::retry_after;

/// Most of an error body that is read, in bytes.
const BODY_LIMIT: u64 = 64 * 1024;
/// Most of a message that is passed on, in characters.
const MESSAGE_LIMIT: usize = 300;

/// What was asked for.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    Manifest(&'a Reference),
    Blob(&'a Reference, &'a Digest),
    Token(&'a Reference),
    /// Beginning or going on with an upload.
    Upload(&'a Reference, &'a Digest),
    /// Storing a manifest.
    PushManifest(&'a Reference),
    PushToken(&'a Reference),
}

impl<'a> Subject<'a> {
    fn reference(self) -> &'a Reference {
        match self {
            Self::Manifest(reference)
            | Self::Blob(reference, _)
            | Self::Token(reference)
            | Self::Upload(reference, _)
            | Self::PushManifest(reference)
            | Self::PushToken(reference) => reference,
        }
    }

    fn is_push(self) -> bool {
        matches!(
            self,
            Self::Upload(..) | Self::PushManifest(_) | Self::PushToken(_)
        )
    }
}

/// The error body of the distribution specification.
#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<Item>,
    /// What token services write.
    #[serde(default)]
    details: String,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Reads the answer's body and says what went wrong.
pub(crate) async fn failure(mut response: Response, subject: Subject<'_>) -> Error {
    // What cannot be read of an error body only makes the message shorter.
    let bytes = read_limited(&mut response, BODY_LIMIT)
        .await
        .unwrap_or_default();
    let (codes, message) = words(&bytes);
    let host = authority(response.url());
    let error = classify(response.status(), subject, host, &codes, message);
    match error {
        Error::RateLimited { host, message, .. } => Error::RateLimited {
            host,
            asked: retry_after(response.headers()),
            message,
        },
        other => other,
    }
}

/// What the answer's body says, in one line.
pub(crate) async fn words_of(mut response: Response) -> String {
    let bytes = read_limited(&mut response, BODY_LIMIT).await;
    words(&bytes.unwrap_or_default()).1
}

fn classify(
    status: StatusCode,
    subject: Subject<'_>,
    host: String,
    codes: &[String],
    message: String,
) -> Error {
    let name = subject.reference().name();
    match (status.as_u16(), subject) {
        (401 | 403, _) if subject.is_push() => Error::PushDenied { name, message },
        (401 | 403, _) => Error::Denied { name, message },
        (404, _) if codes.iter().any(|code| code == "NAME_UNKNOWN") => {
            Error::UnknownRepository { name, message }
        }
        (404, Subject::Manifest(_)) => Error::UnknownManifest {
            reference: subject.reference().to_string(),
            message,
        },
        (404, Subject::Blob(_, digest)) => Error::UnknownBlob {
            name,
            digest: digest.clone(),
            message,
        },
        (429, _) => Error::RateLimited {
            host,
            asked: None,
            message,
        },
        (status @ 400..=499, Subject::Upload(_, digest)) => Error::Refused {
            name,
            what: format!("blob {digest}"),
            status,
            message,
        },
        (status @ 400..=499, Subject::PushManifest(reference)) => Error::Refused {
            name,
            what: format!("manifest {}", target(reference)),
            status,
            message,
        },
        (status, _) => Error::Status {
            host,
            status,
            message,
        },
    }
}

/// What a manifest is stored under.
fn target(reference: &Reference) -> &str {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, tag) => tag.unwrap_or_default(),
    }
}

/// Codes and message of an error body; pages of HTML say nothing that helps.
fn words(bytes: &[u8]) -> (Vec<String>, String) {
    let Ok(document) = serde_json::from_slice::<Errors>(bytes) else {
        let text = String::from_utf8_lossy(bytes);
        let message = if text.contains('<') {
            String::new()
        } else {
            shorten(&text)
        };
        return (Vec::new(), message);
    };
    let codes: Vec<String> = document
        .errors
        .iter()
        .map(|item| item.code.clone())
        .collect();
    let mut messages: Vec<String> = document.errors.iter().map(text).collect();
    messages.push(document.details);
    messages.retain(|message| !message.is_empty());
    (codes, shorten(&messages.join("; ")))
}

fn text(item: &Item) -> String {
    match (item.code.as_str(), item.message.as_str()) {
        (code, "") => code.to_owned(),
        ("", message) => message.to_owned(),
        (code, message) => format!("{code}: {message}"),
    }
}

/// One line of bounded length without control characters: it will be shown on a terminal.
fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_LIMIT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, subject: Subject<'_>, body: &str, wanted: &str) {
        let (codes, message) = words(body.as_bytes());
        let status = StatusCode::from_u16(status).unwrap();
        let error = classify(status, subject, "r.io".into(), &codes, message);
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn the_registrys_words_are_passed_on() {
        let reference = Reference::parse("r.io/a/b:1").unwrap();
        let digest = Digest::sha256_of(b"x");
        let manifest = Subject::Manifest(&reference);
        let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        check(
            404,
            manifest,
            unknown,
            "r.io/a/b:1 not found (the registry says: MANIFEST_UNKNOWN: manifest unknown)",
        );
        let name = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such\n\u001b[31mrepo"}]}"#;
        check(
            404,
            manifest,
            name,
            "repository r.io/a/b not found (the registry says: NAME_UNKNOWN: no such [31mrepo)",
        );
        check(
            404,
            Subject::Blob(&reference, &digest),
            "",
            &format!("blob {digest} not found in r.io/a/b"),
        );
        check(
            401,
            Subject::Token(&reference),
            r#"{"details":"incorrect username or password"}"#,
            "pull access denied for r.io/a/b: the repository does not exist or may require authorization (the registry says: incorrect username or password)",
        );
        check(
            429,
            manifest,
            "slow down",
            "the registry r.io limits requests (the registry says: slow down)",
        );
        let denied = r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#;
        check(
            403,
            Subject::Upload(&reference, &digest),
            denied,
            "push access denied for r.io/a/b: the repository does not exist or may require authorization (the registry says: DENIED: read only)",
        );
        check(
            413,
            Subject::Upload(&reference, &digest),
            "<html>Request Entity Too Large</html>",
            &format!("r.io/a/b does not take blob {digest}: status 413"),
        );
        check(
            400,
            Subject::PushManifest(&reference),
            r#"{"errors":[{"code":"MANIFEST_INVALID"}]}"#,
            "r.io/a/b does not take manifest 1: status 400 (the registry says: MANIFEST_INVALID)",
        );
        check(
            502,
            manifest,
            "<html>Bad Gateway</html>",
            "unexpected status 502 from r.io",
        );
    }
}
