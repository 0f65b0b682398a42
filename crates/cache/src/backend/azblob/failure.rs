//! What the service said, in words that say what to do.

use reqwest::StatusCode;

use super::AzblobPlace;
use crate::backend::objects::{code, said, text_of, unanswered};

/// What went wrong.
pub(super) fn told(error: &object_store::Error, place: &AzblobPlace) -> String {
    let text = text_of(error);
    let container = &place.container;
    match code(&text) {
        Some(code) => format!("{}{}", meaning(&code, place), said(&text)),
        None => match error {
            // Answers to some requests have no body.
            object_store::Error::PermissionDenied { .. } => {
                format!("access denied to the container {container}")
            }
            object_store::Error::Unauthenticated { .. } => NOT_ACCEPTED.to_owned(),
            object_store::Error::NotFound { .. } => {
                format!("not found in the container {container}")
            }
            _ if text.contains("metadata") || text.contains("169.254.") => {
                "there are no credentials: give secret_access_key=, or AZURE_STORAGE_KEY, or AZURE_CLIENT_ID, \
                 AZURE_TENANT_ID and AZURE_CLIENT_SECRET"
                    .to_owned()
            }
            _ => unanswered(error, &text, place.url()),
        },
    }
}

/// Why a container could not be made.
pub(super) fn not_made(body: &str, status: StatusCode, place: &AzblobPlace) -> String {
    let (container, reason) = (&place.container, answered(body, status, place));
    format!("there is no container {container}, and it cannot be made: {reason}")
}

/// What an answer means that is no success.
pub(super) fn answered(body: &str, status: StatusCode, place: &AzblobPlace) -> String {
    match code(body) {
        Some(code) => format!("{}{}", meaning(&code, place), said(body)),
        None => format!("status {} from {}", status.as_u16(), place.url()),
    }
}

const NOT_ACCEPTED: &str = "the credentials are not accepted";

/// What a code means to whoever wrote the attributes. Source: Azure Storage REST API, "Blob service error codes".
fn meaning(code: &str, place: &AzblobPlace) -> String {
    let container = &place.container;
    match code {
        "ContainerNotFound" => format!("there is no container {container} at {}", place.url()),
        "ContainerBeingDeleted" => {
            format!("the container {container} is being deleted: wait, or take another one")
        }
        "AuthorizationFailure"
        | "AuthorizationPermissionMismatch"
        | "AuthorizationProtocolMismatch"
        | "AuthorizationSourceIPMismatch"
        | "InsufficientAccountPermissions"
        | "AccountIsDisabled"
        | "PublicAccessNotPermitted" => format!("access denied to the container {container}"),
        "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "NoAuthenticationInformation"
        | "KeyBasedAuthenticationNotPermitted" => NOT_ACCEPTED.to_owned(),
        "ServerBusy" | "InternalError" | "OperationTimedOut" => {
            format!("the service for the container {container} has trouble")
        }
        other => format!("{other} for the container {container}"),
    }
}
