//! Which files of a view the sources of a COPY or ADD mean.
//!
//! Pure over a [`FileView`]: paths are cleaned against the root, symbolic links on the way and at the
//! end of a source are followed inside the view, links found below a copied directory are not.
//! Source: BuildKit's rules as observed; `docs/dockerfile.md` has them in words.

use rbuild_graph::CopyAction;
use rbuild_layer::{FileView, Follow, Node, path, resolve};
use rbuild_pattern::{Glob, IncludeSet};
use rbuild_progress::CancelToken;

use crate::{Error, Result};

/// All that the sources of one copy mean, in order of the sources, then of the walk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// One for each plain source and each match of a wildcard.
    pub roots: Vec<Root>,
}

/// A file or directory that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// What it is called when it lands in a directory: the last component of the source as
    /// written, of a wildcard's match as found.
    pub name: Vec<u8>,
    /// What counts in keys besides the source as written: the part that a wildcard matched.
    pub matched: Vec<u8>,
    /// Itself first (with an empty `rel`), then everything below it. With `--parents`, the kept
    /// part of the path, directories on the way included and the root itself left out.
    pub items: Vec<Item>,
}

/// One file, directory or other node to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it is in the view: free of symbolic links, no leading slash.
    pub path: Vec<u8>,
    /// Where it belongs below the root; empty for the root itself.
    pub rel: Vec<u8>,
    /// What it is.
    pub node: Node,
    /// Why it is here.
    pub role: Role,
}

/// Why an item is part of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It was selected.
    Selected,
    /// It is a directory on the way to what was selected.
    OnTheWay,
}

/// Lists what `copy` means in `view`.
///
/// Errors: [`Error::NotFound`] for a plain source that names nothing (a wildcard without a match is
/// an empty selection), [`Error::Pattern`], [`Error::Layer`] from the view, [`Error::Cancelled`].
pub fn select(view: &dyn FileView, copy: &CopyAction, cancel: &CancelToken) -> Result<Selection> {
    let excludes = includes(&copy.excludes)?;
    let walk = Walk {
        view,
        excludes: &excludes,
        cancel,
    };
    let mut selection = Selection::default();
    for source in &copy.sources {
        if copy.parents {
            walk.keeping_parents(source, &mut selection.roots)?;
        } else if Glob::has_meta(source) {
            walk.matches(source, &mut selection.roots)?;
        } else {
            let name = path::name(source.trim_end_matches('/').as_bytes());
            let root = walk.plain(source.as_bytes(), source)?;
            selection.roots.push(Root {
                name: name.to_vec(),
                matched: Vec::new(),
                items: root,
            });
        }
    }
    Ok(selection)
}

/// Lists everything at and below one path, links on the way and at its end followed.
///
/// Errors: as [`select`].
pub fn select_path(view: &dyn FileView, source: &str, cancel: &CancelToken) -> Result<Selection> {
    let walk = Walk {
        view,
        excludes: &IncludeSet::default(),
        cancel,
    };
    let items = walk.plain(source.as_bytes(), source)?;
    Ok(Selection {
        roots: vec![Root {
            name: Vec::new(),
            matched: Vec::new(),
            items,
        }],
    })
}

/// Something that a wildcard matched.
struct Match {
    /// Where it is.
    file: Vec<u8>,
    /// The part of the path that matched: all from the first component with a wildcard on.
    rel: Vec<u8>,
}

struct Walk<'a> {
    view: &'a dyn FileView,
    excludes: &'a IncludeSet,
    cancel: &'a CancelToken,
}

impl Walk<'_> {
    /// The items of one existing path, links at its end followed.
    fn plain(&self, source: &[u8], shown: &str) -> Result<Vec<Item>> {
        let not_found = || Error::NotFound {
            path: format!("/{}", shown.trim_start_matches('/')),
            hidden: None,
        };
        let found = match resolve(self.view, source, Follow::Last) {
            Err(rbuild_layer::Error::NotADirectory { .. }) => return Err(not_found()),
            other => other?,
        };
        if !found.exists() {
            return Err(not_found());
        }
        let mut items = Vec::new();
        self.take(&found.path, found.node, &mut items)?;
        Ok(items)
    }

    fn take(&self, file: &[u8], node: Node, items: &mut Vec<Item>) -> Result<()> {
        let is_dir = node.is_dir();
        items.push(Item {
            path: file.to_vec(),
            rel: Vec::new(),
            node,
            role: Role::Selected,
        });
        if is_dir {
            self.below(file, b"", items)?;
        }
        Ok(())
    }

    /// Everything below a directory that is not excluded, in order.
    fn below(&self, dir: &[u8], rel: &[u8], items: &mut Vec<Item>) -> Result<()> {
        self.cancel.check()?;
        for name in self.view.read_dir(dir)? {
            let (file, rel) = (path::join(dir, &name), path::join(rel, &name));
            let Some(node) = self.view.lstat(&file)? else {
                continue;
            };
            let excluded = self.excludes.matches(&rel);
            let is_dir = node.is_dir();
            if excluded && !(is_dir && self.excludes.could_except_below(&rel)) {
                continue;
            }
            let at = items.len();
            items.push(Item {
                path: file.clone(),
                rel: rel.clone(),
                node,
                role: if excluded {
                    Role::OnTheWay
                } else {
                    Role::Selected
                },
            });
            if is_dir {
                self.below(&file, &rel, items)?;
            }
            // An excluded directory is there for what comes back below it, or not at all.
            if excluded && items.len() == at + 1 {
                items.pop();
            }
        }
        Ok(())
    }

    /// One root for each match of a wildcard, in the order of the walk.
    fn matches(&self, source: &str, roots: &mut Vec<Root>) -> Result<()> {
        for Match { file, rel } in self.glob(source)? {
            let shown = String::from_utf8_lossy(&file).into_owned();
            roots.push(Root {
                items: self.plain(&file, &shown)?,
                name: path::name(&file).to_vec(),
                matched: rel,
            });
        }
        Ok(())
    }

    /// What a wildcard matches, in the order of the walk; nothing below a match.
    fn glob(&self, source: &str) -> Result<Vec<Match>> {
        let source = source.trim_start_matches('/');
        let (prefix, pattern) = Glob::split_prefix(source);
        let glob = Glob::new(pattern).map_err(|e| bad_pattern(source, e))?;
        let mut found = Vec::new();
        let start = match resolve(self.view, prefix.as_bytes(), Follow::Last) {
            Err(rbuild_layer::Error::NotADirectory { .. }) => return Ok(found),
            other => other?,
        };
        if start.exists() && start.node.is_dir() {
            self.match_below(&glob, &start.path, b"", &mut found)?;
        }
        Ok(found)
    }

    fn match_below(
        &self,
        glob: &Glob,
        dir: &[u8],
        rel: &[u8],
        found: &mut Vec<Match>,
    ) -> Result<()> {
        self.cancel.check()?;
        for name in self.view.read_dir(dir)? {
            let (file, rel) = (path::join(dir, &name), path::join(rel, &name));
            if glob.matches(&rel) {
                found.push(Match { file, rel });
            } else if glob.could_match_below(&rel)
                && self.view.lstat(&file)?.is_some_and(|node| node.is_dir())
            {
                self.match_below(glob, &file, &rel, found)?;
            }
        }
        Ok(())
    }

    /// `--parents`: what matches the part behind the `/./`, with the directories that lead there.
    ///
    /// The part before it may have wildcards of its own: then every match is a root.
    fn keeping_parents(&self, source: &str, roots: &mut Vec<Root>) -> Result<()> {
        let source = source.trim_start_matches('/');
        let (base, kept) = match source.split_once("./") {
            Some(("", kept)) => ("", kept),
            _ => source.split_once("/./").unwrap_or(("", source)),
        };
        let kept = kept.trim_matches('/');
        if Glob::has_meta(base) {
            for Match { file, rel } in self.glob(base)? {
                let items = self.kept_below(&file, kept)?.unwrap_or_default();
                roots.push(Root {
                    name: Vec::new(),
                    matched: rel,
                    items,
                });
            }
            return Ok(());
        }
        let may_be_empty = Glob::has_meta(kept) || kept.is_empty();
        match self.kept_below(base.as_bytes(), kept)? {
            Some(items) if may_be_empty || !items.is_empty() => {
                roots.push(Root {
                    name: Vec::new(),
                    matched: Vec::new(),
                    items,
                });
                Ok(())
            }
            _ => Err(Error::NotFound {
                path: format!("/{source}"),
                hidden: None,
            }),
        }
    }

    /// What matches `kept` below a directory, all of it for `""`; `None` if there is none.
    fn kept_below(&self, base: &[u8], kept: &str) -> Result<Option<Vec<Item>>> {
        let start = match resolve(self.view, base, Follow::Last) {
            Err(rbuild_layer::Error::NotADirectory { .. }) => return Ok(None),
            other => other?,
        };
        if !start.exists() || !start.node.is_dir() {
            return Ok(None);
        }
        let mut items = Vec::new();
        if kept.is_empty() || kept == "." {
            self.below(&start.path, b"", &mut items)?;
        } else {
            let wanted = includes(&[kept.to_owned()])?;
            self.wanted_below(&wanted, &start.path, b"", &mut items)?;
        }
        Ok(Some(items))
    }

    fn wanted_below(
        &self,
        wanted: &IncludeSet,
        dir: &[u8],
        rel: &[u8],
        items: &mut Vec<Item>,
    ) -> Result<()> {
        self.cancel.check()?;
        for name in self.view.read_dir(dir)? {
            let (file, rel) = (path::join(dir, &name), path::join(rel, &name));
            let taken = wanted.matches(&rel) && !self.excludes.matches(&rel);
            if !taken && !wanted.could_match_below(&rel) && !wanted.matches(&rel) {
                continue;
            }
            let Some(node) = self.view.lstat(&file)? else {
                continue;
            };
            let is_dir = node.is_dir();
            if !taken && !is_dir {
                continue;
            }
            let at = items.len();
            items.push(Item {
                path: file.clone(),
                rel: rel.clone(),
                node,
                role: if taken {
                    Role::Selected
                } else {
                    Role::OnTheWay
                },
            });
            if is_dir {
                self.wanted_below(wanted, &file, &rel, items)?;
            }
            if !taken && items.len() == at + 1 {
                items.pop();
            }
        }
        Ok(())
    }
}

fn includes(patterns: &[String]) -> Result<IncludeSet> {
    IncludeSet::new(patterns).map_err(|e| bad_pattern(&patterns.join(" "), e))
}

fn bad_pattern(pattern: &str, source: rbuild_pattern::Error) -> Error {
    Error::Pattern {
        pattern: pattern.to_owned(),
        source,
    }
}
