//! What the service said, in words that say what to do.

use super::S3Place;
use crate::backend::objects::{code, said, text_of, unanswered};

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
            _ => without_code(error, &text, place),
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

/// No answer that means anything.
fn without_code(error: &object_store::Error, text: &str, place: &S3Place) -> String {
    if text.contains("status code: 507") {
        return format!("the bucket {} takes no more", place.bucket);
    }
    if text.contains("metadata") || text.contains("169.254.") {
        return "there are no credentials: give access_key_id= and secret_access_key=, or \
                AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            .to_owned();
    }
    unanswered(error, text, &place.endpoint())
}
