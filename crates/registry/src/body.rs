//! Reading a body into memory, within a limit.

use reqwest::Response;

/// Why a body was not read.
pub(crate) enum BodyError {
    /// It is, or says that it is, larger than the limit.
    TooLarge,
    /// The connection broke.
    Broken(reqwest::Error),
}

/// Reads the whole body unless it exceeds `limit` bytes; a stated length is believed at once.
pub(crate) async fn read_limited(
    response: &mut Response,
    limit: u64,
) -> Result<Vec<u8>, BodyError> {
    if response
        .content_length()
        .is_some_and(|stated| stated > limit)
    {
        return Err(BodyError::TooLarge);
    }
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(bytes),
            Ok(Some(piece)) if (bytes.len() + piece.len()) as u64 > limit => {
                return Err(BodyError::TooLarge);
            }
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Err(error) => return Err(BodyError::Broken(error.without_url())),
        }
    }
}
