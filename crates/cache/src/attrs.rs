//! `key=value` attributes of a cache option, each taken once.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// What stands in `type=KIND,key=value,...` after the kind.
///
/// Whoever understands an attribute takes it; what nobody took is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attrs {
    kind: String,
    given: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl Attrs {
    /// The attributes of a cache of `kind`. Errors: one is given twice.
    pub fn new(
        kind: impl Into<String>,
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let mut given = BTreeMap::new();
        for (key, value) in pairs {
            if given.contains_key(&key) {
                return Err(Error::Spec(format!("{key}= is given twice")));
            }
            given.insert(key, value);
        }
        Ok(Self {
            kind: kind.into(),
            given,
            known: Vec::new(),
        })
    }

    /// Takes an attribute; an empty one counts as absent.
    pub fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        self.given.remove(key).filter(|value| !value.is_empty())
    }

    /// What is given and not taken yet.
    pub fn given(&self) -> BTreeMap<String, String> {
        self.given.clone()
    }

    /// Takes an attribute that must be there.
    pub fn require(&mut self, key: &'static str) -> Result<String> {
        self.take(key)
            .ok_or_else(|| Error::Spec(format!("type={} needs {key}=", self.kind)))
    }

    /// Takes a switch: `true`, `false`, `1`, `0`.
    pub fn switch(&mut self, key: &'static str, default: bool) -> Result<bool> {
        self.parsed(key, "true or false", |text| match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })
        .map(|value| value.unwrap_or(default))
    }

    /// Takes an attribute that `read` understands; `wanted` says what it should be.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(text) = self.take(key) else {
            return Ok(None);
        };
        match read(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::Spec(format!("{key}={text}: it must be {wanted}"))),
        }
    }

    /// Ends the reading. Errors: an attribute that nobody took.
    pub fn finish(mut self) -> Result<()> {
        let Some(unknown) = self.given.keys().next() else {
            return Ok(());
        };
        self.known.sort_unstable();
        self.known.dedup();
        Err(Error::Spec(format!(
            "type={} has no attribute {unknown}= (it has {})",
            self.kind,
            self.known.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(pairs: &[(&str, &str)]) -> Result<Attrs> {
        let pairs = pairs.iter();
        Attrs::new("s3", pairs.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn what_is_given_is_taken_once_and_nothing_is_left() {
        let mut all = attrs(&[("bucket", "b"), ("tls", "0"), ("empty", "")]).unwrap();
        assert_eq!(all.require("bucket").unwrap(), "b");
        assert!(!all.switch("tls", true).unwrap());
        assert!(all.switch("other", true).unwrap());
        assert_eq!(all.take("empty"), None);
        all.finish().unwrap();
    }

    #[test]
    fn errors_name_the_attribute() {
        let text = |error: Error| error.to_string();
        assert_eq!(
            text(attrs(&[("a", "1"), ("a", "2")]).unwrap_err()),
            "a= is given twice"
        );
        let mut all = attrs(&[("tls", "yes"), ("buket", "b")]).unwrap();
        assert_eq!(
            text(all.require("bucket").unwrap_err()),
            "type=s3 needs bucket="
        );
        assert_eq!(
            text(all.switch("tls", true).unwrap_err()),
            "tls=yes: it must be true or false"
        );
        assert_eq!(
            text(all.finish().unwrap_err()),
            "type=s3 has no attribute buket= (it has bucket, tls)"
        );
    }
}
