//! The name of an object of any kind.

use std::fmt;

use rbuild_oci::Digest;

/// Names one object of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    /// Content named by its digest.
    Blob(Digest),
    /// A directory, by tree id.
    Tree(String),
}

impl Object {
    /// Reads back what `Display` wrote; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(' ')?;
        match kind {
            "blob" => Digest::parse(name).ok().map(Self::Blob),
            "tree" => is_tree_id(name).then(|| Self::Tree(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Tree(id) => write!(f, "tree {id}"),
        }
    }
}

/// Tells whether a text may name a tree: safe as a file name and as a word in a line.
pub(crate) fn is_tree_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_comes_back() {
        let blob = Object::Blob(Digest::sha256_of(b"x"));
        let tree = Object::Tree("0a-b_c".into());
        for object in [blob, tree] {
            assert_eq!(Object::parse(&object.to_string()), Some(object));
        }
        for text in [
            "",
            "blob",
            "blob sha256:12",
            "tree ../x",
            "tree ",
            "cache x",
            "tree A",
        ] {
            assert_eq!(Object::parse(text), None, "{text}");
        }
    }
}
