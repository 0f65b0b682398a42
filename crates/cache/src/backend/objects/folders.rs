//! Where in a bucket a cache lies, and under which names: attributes that all services share.

use crate::{Attrs, Error, Result};

/// Paths are without slashes at their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folders {
    /// Before everything.
    pub prefix: String,
    /// Of blobs.
    pub blobs: String,
    /// Of indexes.
    pub manifests: String,
    /// Names of the cache, at least one: read from all, written to all.
    pub names: Vec<String>,
}

impl Folders {
    /// Takes `prefix=`, which may come from elsewhere as well, `blobs_prefix=`, `manifests_prefix=` and `name=`.
    pub fn parse(attrs: &mut Attrs, prefix: Option<&str>) -> Result<Self> {
        Ok(Self {
            prefix: path(attrs, "prefix", prefix.unwrap_or_default())?,
            blobs: path(attrs, "blobs_prefix", "blobs")?,
            manifests: path(attrs, "manifests_prefix", "manifests")?,
            names: names(attrs)?,
        })
    }

    /// What people call a place in this bucket.
    pub fn named(&self, bucket: &str) -> String {
        let mut name = bucket.to_owned();
        for part in [&self.prefix, &self.names.join(";")] {
            if !part.is_empty() {
                name.push('/');
                name.push_str(part);
            }
        }
        name
    }
}

fn path(attrs: &mut Attrs, key: &'static str, default: &str) -> Result<String> {
    let text = attrs.take(key).unwrap_or_else(|| default.to_owned());
    checked(key, text.trim_matches('/'))
}

/// Nothing that a service could take for another path.
fn checked(key: &str, text: &str) -> Result<String> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._+=@,!()".contains(&b))
    };
    match text.is_empty() || text.split('/').all(is_part) {
        true => Ok(text.to_owned()),
        false => Err(Error::Spec(format!(
            "{key}={text}: it must be a path of letters, digits and -._+=@,!()"
        ))),
    }
}

fn names(attrs: &mut Attrs) -> Result<Vec<String>> {
    let text = attrs.take("name").unwrap_or_else(|| "rbuild".to_owned());
    let mut names = Vec::new();
    for name in text.split(';').filter(|name| !name.is_empty()) {
        let name = checked("name", name)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.is_empty() {
        true => Err(Error::Spec(format!(
            "name={text}: it must be a name, or several with `;`"
        ))),
        false => Ok(names),
    }
}
