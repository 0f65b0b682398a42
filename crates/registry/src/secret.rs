//! Text that must not be shown.

use std::fmt;

use reqwest::header::HeaderValue;

/// A password or token. Has no serialised form and no text in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An `Authorization` header of this scheme; `None` if the text cannot stand in a header.
    pub(crate) fn header(&self, scheme: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::try_from(format!("{scheme} {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_text_in_headers_too() {
        let secret = Secret::new("hunter2");
        let header = secret.header("Bearer").unwrap();
        assert!(!format!("{secret:?} {header:?}").contains("hunter2"));
        assert_eq!(header.to_str().unwrap(), "Bearer hunter2");
        assert!(Secret::new("a\nb").header("Bearer").is_none());
    }
}
