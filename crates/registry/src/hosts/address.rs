//! Addresses as settings write them.

use reqwest::Url;

use crate::endpoint::authority;

/// The start of an API: scheme, host and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Whether TLS is spoken.
    pub(crate) secure: bool,
    /// Host and port.
    pub(crate) host: String,
    /// Path without a slash at its end, empty for none.
    pub(crate) path: String,
}

impl Address {
    /// Reads `http://HOST[:PORT][/PATH]` or `https://…`; without a scheme it is `https`.
    ///
    /// Errors are texts that say what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let with_scheme = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let wrong = |what: &str| format!("{text:?} is no address of a registry: {what}");
        let url = Url::parse(&with_scheme).map_err(|error| wrong(&error.to_string()))?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("only http and https are spoken")),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it has a query"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // Not quoted: it holds a password.
            return Err("an address of a registry holds a user name or password; \
                        `rbuild login` keeps them"
                .to_owned());
        }
        Ok(Self {
            secure,
            host: authority(&url),
            path: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let check = |text: &str, secure: bool, host: &str, path: &str| {
            let found = Address::parse(text).unwrap();
            assert_eq!(
                (found.secure, found.host.as_str(), found.path.as_str()),
                (secure, host, path)
            );
        };
        check("https://m.example", true, "m.example", "");
        check("http://m.example:5000/", false, "m.example:5000", "");
        check("m.example:5000/a/b/", true, "m.example:5000", "/a/b");
        check("https://[::1]:5000", true, "[::1]:5000", "");
    }

    #[test]
    fn what_is_no_address_is_told() {
        for text in ["ftp://x", "https://", "https://x/?a=b", "https://x/#a"] {
            assert!(Address::parse(text).unwrap_err().contains("no address"));
        }
        let error = Address::parse("https://u:hunter2@x").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
