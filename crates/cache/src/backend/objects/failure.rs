//! What a service said, as far as all services say it in the same way.

use std::error::Error as StdError;

use rbuild_registry::network_reason;

use crate::backend::content::one_line;

/// Codes that say that the bucket is not there.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// Whether a blob that was asked for is not there, rather than its bucket.
pub(crate) fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
        && code(&text_of(error)).is_none_or(|code| !NO_BUCKET.contains(&code.as_str()))
}

/// Whether the service says that this is not for us to do.
pub(crate) fn is_denied(error: &object_store::Error) -> bool {
    // A list's failure has no variant of its own.
    matches!(error, object_store::Error::PermissionDenied { .. })
        || text_of(error).contains("status code: 403")
}

/// No answer that means anything: the way to `endpoint`, or something else that speaks HTTP.
pub(crate) fn unanswered(error: &object_store::Error, text: &str, endpoint: &str) -> String {
    if let Some(at) = text.find("status code: ") {
        let status: String = text[at..].chars().skip(13).take(3).collect();
        return format!("status {status} from {endpoint}");
    }
    // The innermost causes are those of the network; what is around them says nothing to people.
    let network = deepest_network(error);
    let reason = network.map_or_else(|| network_reason(error), network_reason);
    format!("cannot reach {endpoint}: {}", one_line(&reason))
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
pub(crate) fn text_of(error: &object_store::Error) -> String {
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

/// What the service calls the failure.
pub(crate) fn code(text: &str) -> Option<String> {
    element(text, "Code")
}

/// The service's own words, in brackets; empty if there are none.
pub(crate) fn said(text: &str) -> String {
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
