//! What the service said, in words that say what to do.

use std::error::Error as StdError;

use rbuild_registry::network_reason;

use super::S3Place;
use crate::backend::content::one_line;

/// Whether a blob that was asked for is not there, rather than its bucket.
pub(super) fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
        && code(&text_of(error)).is_none_or(|code| code != "NoSuchBucket")
}

/// Whether the service says that this is not for us to do.
pub(super) fn is_denied(error: &object_store::Error) -> bool {
    // A list's failure has no variant of its own.
    matches!(error, object_store::Error::PermissionDenied { .. })
        || text_of(error).contains("status code: 403")
}

/// What went wrong.
pub(super) fn told(error: &object_store::Error, place: &S3Place) -> String {
    let text = text_of(error);
    let said = said(&text);
    match code(&text).as_deref() {
        Some(code) => format!("{}{said}", meaning(code, place)),
        None if text.contains("redirect") => format!("{}{said}", wrong_region(place)),
        None => match error {
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. } => {
                format!("access denied to the bucket {}{said}", place.bucket)
            }
            object_store::Error::NotFound { .. } => {
                format!("not found in the bucket {}{said}", place.bucket)
            }
            _ => unanswered(error, &text, place),
        },
    }
}

/// What a code means to whoever wrote the attributes. Source: S3 API reference, "Error responses".
fn meaning(code: &str, place: &S3Place) -> String {
    let (bucket, region) = (&place.bucket, &place.region);
    match code {
        "NoSuchBucket" => format!("there is no bucket {bucket} at {}", place.endpoint()),
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
            format!("access denied to the bucket {bucket}")
        }
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "TokenRefreshRequired" => "the credentials are not accepted".to_owned(),
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "IncorrectEndpoint" => wrong_region(place),
        "RequestTimeTooSkewed" | "RequestExpired" => {
            format!(
                "the clocks of this machine and of {} differ",
                place.endpoint()
            )
        }
        "QuotaExceeded"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientStorage"
        | "EntityTooLarge" => {
            format!("the bucket {bucket} takes no more")
        }
        "SlowDown" | "ServiceUnavailable" | "InternalError" => {
            format!("the service for the bucket {bucket} has trouble")
        }
        other => format!("{other} for the bucket {bucket} in {region}"),
    }
}

fn wrong_region(place: &S3Place) -> String {
    let (bucket, region) = (&place.bucket, &place.region);
    format!("the bucket {bucket} is not in {region}: give its own region=")
}

/// No answer that means anything: the way there, or something else that speaks HTTP.
fn unanswered(error: &object_store::Error, text: &str, place: &S3Place) -> String {
    if text.contains("status code: 507") {
        return format!("the bucket {} takes no more", place.bucket);
    }
    if text.contains("metadata") || text.contains("169.254.") {
        return "there are no credentials: give access_key_id= and secret_access_key=, or \
                AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            .to_owned();
    }
    if let Some(at) = text.find("status code: ") {
        let status: String = text[at..].chars().skip(13).take(3).collect();
        return format!("status {status} from {}", place.endpoint());
    }
    // The innermost causes are those of the network; what is around them says nothing to people.
    let network = deepest_network(error);
    let reason = network.map_or_else(|| network_reason(error), network_reason);
    format!("cannot reach {}: {}", place.endpoint(), one_line(&reason))
}

/// The first cause that is not the object store's own.
fn deepest_network(error: &object_store::Error) -> Option<&(dyn StdError + 'static)> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<reqwest::Error>() || error.is::<rbuild_registry::Error>() {
            return Some(error);
        }
        next = error.source();
    }
    None
}

/// The error with all its causes; the answer's body is in one of them.
fn text_of(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = error.source();
    }
    text
}

fn code(text: &str) -> Option<String> {
    element(text, "Code")
}

/// The service's own words, in brackets; empty if there are none.
fn said(text: &str) -> String {
    let message = element(text, "Message").filter(|message| !message.is_empty());
    message.map_or_else(String::new, |message| {
        format!(" (the service says: {message})")
    })
}

/// The text of an element in an answer: one line, without control characters.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(one_line(inner))
}
