//! Names by which an archive says that something of the layers below is hidden.
//!
//! Source: OCI image-spec, layer.md, "Whiteouts".

use crate::path;

/// Starts the name of a whiteout.
pub(crate) const PREFIX: &[u8] = b".wh.";
/// Name of the file that makes its directory opaque.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Starts the names of metadata that aufs left in old archives.
const META_PREFIX: &[u8] = b".wh..wh.";

/// What the last component of an archive's path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is an entry of its own.
    Plain,
    /// Hides this path of the layers below.
    Hides(Vec<u8>),
    /// Hides everything in this directory of the layers below (`""`: the root).
    Opaque(Vec<u8>),
    /// Left behind by aufs: means nothing.
    Nothing,
    /// A whiteout of nothing, of `.` or of `..`.
    Invalid,
}

/// What a cleaned path of an archive means.
pub(crate) fn meaning(path: &[u8]) -> Meaning {
    let name = path::name(path);
    let dir = path::parent(path);
    let in_meta = |path| path::components(path).any(|part: &[u8]| part.starts_with(META_PREFIX));
    if name == OPAQUE && !in_meta(dir) {
        return Meaning::Opaque(dir.to_vec());
    }
    if in_meta(path) {
        return Meaning::Nothing;
    }
    match name.strip_prefix(PREFIX) {
        None => Meaning::Plain,
        Some(b"" | b"." | b"..") => Meaning::Invalid,
        Some(hidden) => Meaning::Hides(path::join(dir, hidden)),
    }
}

/// The name by which an archive hides `path`.
pub(crate) fn name_of(path: &[u8]) -> Vec<u8> {
    path::join(path::parent(path), &[PREFIX, path::name(path)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let hides = |path: &str| Meaning::Hides(path.into());
        for (path, expected) in [
            ("a/b", Meaning::Plain),
            ("a/.wh.b", hides("a/b")),
            (".wh.b", hides("b")),
            ("a/.wh..hidden", hides("a/.hidden")),
            ("a/.wh..wh..opq", Meaning::Opaque("a".into())),
            (".wh..wh..opq", Meaning::Opaque("".into())),
            ("a/.wh..wh.plnk", Meaning::Nothing),
            (".wh..wh.plnk/x", Meaning::Nothing),
            (".wh..wh.plnk/.wh..wh..opq", Meaning::Nothing),
            ("a/.wh.", Meaning::Invalid),
            ("a/.wh..", Meaning::Invalid),
            ("a/.wh...", Meaning::Invalid),
            ("a/.wh....", hides("a/...")),
        ] {
            assert_eq!(meaning(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn the_name_of_a_whiteout_means_its_path() {
        for path in [&b"a"[..], b"a/b", b"a/.x"] {
            assert_eq!(meaning(&name_of(path)), Meaning::Hides(path.to_vec()));
        }
    }
}
