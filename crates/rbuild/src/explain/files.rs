//! Which files of two lists differ, and in what. Pure.

use rbuild_source::{Listed, ListedKind, Listing};
use serde::{Deserialize, Serialize};

use super::words::escaped;

/// Most files that are named of one input; the rest is counted.
const NAMED: usize = 50;

/// How the files of an input differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChanges {
    /// How many differ.
    pub count: u64,
    /// How many there are in both lists together; directories only where they differ.
    pub total: u64,
    /// The first of them by path; what is new or gone with its directory is left out.
    pub named: Vec<FileChange>,
    /// Whether nothing differs but permission bits.
    pub only_modes: bool,
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Its path below the input's root, control characters and bytes that are no text escaped.
    pub path: String,
    /// What happened to it.
    pub fate: Vec<FileFate>,
}

/// In what a file differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum FileFate {
    /// It was not there.
    New,
    /// It is not there any more.
    Gone,
    /// It is of another type.
    Type {
        /// What it was.
        then: String,
        /// What it is.
        now: String,
    },
    /// It has other bytes.
    Content,
    /// It leads elsewhere.
    Link,
    /// It has other numbers as a device.
    Device,
    /// It has other permission bits, in octal.
    Mode {
        /// What they were.
        then: String,
        /// What they are.
        now: String,
    },
    /// It has another owner, as `uid:gid`.
    Owner {
        /// Who it was.
        then: String,
        /// Who it is.
        now: String,
    },
    /// It has other extended attributes.
    Attributes,
}

/// Tells two lists apart.
pub(super) fn changes(then: &Listing, now: &Listing) -> FileChanges {
    let mut found = FileChanges {
        count: 0,
        total: then.left_out.max(now.left_out),
        named: Vec::new(),
        only_modes: true,
    };
    let mut note = |path: &[u8], then: Option<&Listed>, now: Option<&Listed>| {
        let fate = fate(then, now);
        let is_dir = |it: Option<&Listed>| it.is_some_and(|it| it.kind == ListedKind::Dir);
        if !fate.is_empty() || !(is_dir(then) || is_dir(now)) {
            found.total += 1;
        }
        if fate.is_empty() {
            return;
        }
        found.count += 1;
        found.only_modes &= matches!(fate[..], [FileFate::Mode { .. }]);
        if found.named.len() < NAMED {
            let path = escaped(path);
            found.named.push(FileChange { path, fate });
        }
    };
    for (path, file) in &now.files {
        note(path, then.files.get(path), Some(file));
    }
    for (path, file) in &then.files {
        if !now.files.contains_key(path) {
            note(path, Some(file), None);
        }
    }
    found.only_modes &= found.count > 0;
    found.named.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn fate(then: Option<&Listed>, now: Option<&Listed>) -> Vec<FileFate> {
    let (then, now) = match (then, now) {
        (None, _) => return vec![FileFate::New],
        (_, None) => return vec![FileFate::Gone],
        (Some(then), Some(now)) => (then, now),
    };
    let mut fate = Vec::new();
    if then.kind != now.kind {
        fate.push(of_kind(&then.kind, &now.kind));
    }
    if then.mode != now.mode {
        fate.push(FileFate::Mode {
            then: format!("{:o}", then.mode),
            now: format!("{:o}", now.mode),
        });
    }
    if (then.uid, then.gid) != (now.uid, now.gid) {
        fate.push(FileFate::Owner {
            then: format!("{}:{}", then.uid, then.gid),
            now: format!("{}:{}", now.uid, now.gid),
        });
    }
    if then.attributes != now.attributes {
        fate.push(FileFate::Attributes);
    }
    fate
}

fn of_kind(then: &ListedKind, now: &ListedKind) -> FileFate {
    match (then, now) {
        (ListedKind::File { .. }, ListedKind::File { .. }) => FileFate::Content,
        (ListedKind::Symlink(_), ListedKind::Symlink(_)) => FileFate::Link,
        (ListedKind::Device(..), ListedKind::Device(..)) => FileFate::Device,
        _ => FileFate::Type {
            then: type_name(then).to_owned(),
            now: type_name(now).to_owned(),
        },
    }
}

fn type_name(kind: &ListedKind) -> &'static str {
    match kind {
        ListedKind::File { .. } => "file",
        ListedKind::Dir => "directory",
        ListedKind::Symlink(_) => "link",
        ListedKind::Device(..) => "device",
        ListedKind::Fifo => "pipe",
        ListedKind::Socket => "socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(files: &[(&str, u32, u64)]) -> Listing {
        let files = files.iter().map(|(path, mode, content)| {
            let kind = match path.ends_with('/') {
                true => ListedKind::Dir,
                false => ListedKind::File {
                    size: 1,
                    content: *content,
                },
            };
            let listed = Listed {
                kind,
                mode: *mode,
                uid: 0,
                gid: 0,
                attributes: 0,
            };
            (path.trim_end_matches('/').as_bytes().to_vec(), listed)
        });
        Listing {
            files: files.collect(),
            left_out: 0,
        }
    }

    #[test]
    fn each_kind_of_change_is_told() {
        let then = listing(&[
            ("d/", 0o755, 0),
            ("a", 0o644, 1),
            ("b", 0o644, 1),
            ("gone", 0o644, 1),
            ("same", 0o644, 1),
            ("type", 0o644, 1),
        ]);
        let now = listing(&[
            ("d/", 0o755, 0),
            ("a", 0o644, 2),
            ("b", 0o755, 1),
            ("new\n\x1b[2J", 0o644, 1),
            ("same", 0o644, 1),
            ("type/", 0o644, 0),
        ]);
        let found = changes(&then, &now);
        assert_eq!((found.count, found.total, found.only_modes), (5, 6, false));
        let paths: Vec<&str> = found.named.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["a", "b", "gone", "new\\n\\x1b[2J", "type"]);
        assert_eq!(found.named[0].fate, [FileFate::Content]);
        assert!(matches!(found.named[1].fate[..], [FileFate::Mode { .. }]));
        assert_eq!(found.named[2].fate, [FileFate::Gone]);
        assert_eq!(found.named[3].fate, [FileFate::New]);
        assert!(matches!(found.named[4].fate[..], [FileFate::Type { .. }]));
    }

    #[test]
    fn modes_alone_are_told_apart() {
        let then = listing(&[("a", 0o644, 1), ("b", 0o644, 1)]);
        let now = listing(&[("a", 0o664, 1), ("b", 0o644, 1)]);
        assert!(changes(&then, &now).only_modes);
        assert!(!changes(&then, &then).only_modes);
    }

    #[test]
    fn long_lists_are_bounded() {
        let names: Vec<String> = (0..10_000).map(|n| format!("{n:05}")).collect();
        let then = listing(&[]);
        let files: Vec<(&str, u32, u64)> = names.iter().map(|n| (n.as_str(), 0o644, 1)).collect();
        let found = changes(&then, &listing(&files));
        assert_eq!((found.count, found.named.len()), (10_000, NAMED));
    }
}
