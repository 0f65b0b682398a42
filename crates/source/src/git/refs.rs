//! What a reference stands for.

use rbuild_graph::GitOp;
use rbuild_registry::without_credentials;

use super::command::Git;
use super::failed;
use crate::pins::CommitPin;
use crate::{Error, Result};

/// A commit, and how to ask the server for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Full name of the commit.
    pub commit: String,
    /// Full name of the annotated tag object, if there is one.
    pub tag: Option<String>,
    /// The full ref that led to it; `None` for a commit that was given by name.
    pub full_ref: Option<String>,
    /// Whether the server was not asked: the ref may have gone on since, or be gone.
    pub is_old: bool,
}

impl Resolved {
    pub(super) fn of_commit(commit: &str) -> Resolved {
        Resolved {
            commit: commit.to_owned(),
            tag: None,
            full_ref: None,
            is_old: false,
        }
    }
}

impl CommitPin {
    /// Whether it names objects and a ref as git writes them, nothing that might be an option or a pattern.
    pub fn is_sound(&self) -> bool {
        let is_ref = |name: &String| name.starts_with("refs/") && check_name(name).is_ok();
        is_commit(&self.commit)
            && self.tag.as_deref().is_none_or(is_commit)
            && self
                .full_ref
                .as_ref()
                .is_none_or(|name| name == "HEAD" || is_ref(name))
    }
}

impl From<CommitPin> for Resolved {
    fn from(pin: CommitPin) -> Self {
        Resolved {
            commit: pin.commit,
            tag: pin.tag,
            full_ref: pin.full_ref,
            is_old: true,
        }
    }
}

/// Whether the text is the full name of a commit: SHA-1 or SHA-256.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Refuses what cannot be a reference, and might be an option or a pattern.
pub(super) fn check_name(reference: &str) -> Result<()> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    if reference.starts_with('-') || reference.contains(odd) || reference.contains("..") {
        return Err(Error::GitRef {
            reference: reference.to_owned(),
        });
    }
    Ok(())
}

/// Refuses a commit that the checksum does not name; the annotated tag's name is as good.
pub(super) fn check_sum(checksum: Option<&str>, found: &Resolved) -> Result<()> {
    let Some(wanted) = checksum else {
        return Ok(());
    };
    let mut names = found.tag.iter().chain([&found.commit]);
    if names.clone().any(|name| name.starts_with(wanted)) {
        return Ok(());
    }
    let first = names.next().cloned().unwrap_or_default();
    Err(Error::GitChecksum {
        wanted: wanted.to_owned(),
        found: names.fold(first, |all, name| format!("{all} or {name}")),
    })
}

/// Asks the server what the reference of `op` stands for.
pub(super) fn ask(git: &Git<'_>, op: &GitOp) -> Result<Resolved> {
    let reference = match op.reference.as_str() {
        "HEAD" => "",
        other => other,
    };
    let tail = reference.strip_prefix("refs/").unwrap_or(reference);
    let peeled = format!("{reference}^{{}}");
    let mut words = vec!["ls-remote", "--symref", "--", &op.remote];
    match reference {
        "" => words.push("HEAD"),
        name => words.extend([name, &peeled]),
    }
    let out = git
        .run(&words, None)
        .map_err(|e| e.named(|said| failed(op, "failed to fetch remote", said)))?;
    let lines = parse(&out);
    let names = match reference {
        "" => vec!["HEAD".to_owned()],
        // Where a branch and a tag share a name git takes the branch.
        name => {
            let short = |prefix: &str| {
                let rest = name.strip_prefix(prefix).unwrap_or(name);
                format!("{prefix}{rest}")
            };
            vec![
                format!("refs/{tail}"),
                short("refs/heads/"),
                short("refs/tags/"),
            ]
        }
    };
    let found = names.iter().find_map(|name| resolved(&lines, name));
    let found = found.map(|found| Resolved {
        full_ref: branch_of_head(&out)
            .filter(|_| reference.is_empty())
            .or(found.full_ref),
        ..found
    });
    found.ok_or_else(|| Error::GitNoRef {
        reference: match reference {
            "" => "HEAD".to_owned(),
            name => name.to_owned(),
        },
        remote: without_credentials(&op.remote),
    })
}

/// Lines of `ls-remote`: object and ref. What the server sends is not believed to make sense.
fn parse(out: &str) -> Vec<(&str, &str)> {
    out.lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(object, _)| is_commit(object))
        .collect()
}

/// The branch that HEAD names: what a clone would call it.
fn branch_of_head(out: &str) -> Option<String> {
    let name = |line: &str| {
        let name = line.strip_prefix("ref: ")?.strip_suffix("\tHEAD")?;
        let is_branch = name.starts_with("refs/heads/") && check_name(name).is_ok();
        is_branch.then(|| name.to_owned())
    };
    out.lines().find_map(name)
}

fn resolved(lines: &[(&str, &str)], name: &str) -> Option<Resolved> {
    let object = |wanted: &str| {
        let found = lines.iter().find(|(_, name)| *name == wanted);
        found.map(|(object, _)| (*object).to_owned())
    };
    let direct = object(name)?;
    let full_ref = Some(name.to_owned());
    Some(match object(&format!("{name}^{{}}")) {
        Some(commit) => Resolved {
            commit,
            tag: Some(direct),
            full_ref,
            is_old: false,
        },
        None => Resolved {
            commit: direct,
            tag: None,
            full_ref,
            is_old: false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn annotated_tags_lead_to_their_commit() {
        let out =
            format!("{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\nnonsense\n-x\trefs/heads/v1\n");
        let found = resolved(&parse(&out), "refs/tags/v1").unwrap();
        assert_eq!((&*found.commit, found.tag.as_deref()), (B, Some(A)));
        assert_eq!(resolved(&parse(&out), "refs/heads/v1"), None);
        for sum in [&A[..9], &B[..7], B] {
            assert!(check_sum(Some(sum), &found).is_ok());
        }
        let error = check_sum(Some("ccccccc"), &found).unwrap_err();
        let wanted = format!("expected checksum to match ccccccc, got {A} or {B}");
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn head_is_called_by_its_branch() {
        let out = format!("ref: refs/heads/main\tHEAD\n{A}\tHEAD\n");
        assert_eq!(branch_of_head(&out).as_deref(), Some("refs/heads/main"));
        let found = resolved(&parse(&out), "HEAD").unwrap();
        assert_eq!(found.commit, A);
        for odd in ["ref: refs/heads/-x y\tHEAD", "ref: HEAD\tHEAD", "ref: x"] {
            assert_eq!(branch_of_head(odd), None, "{odd}");
        }
    }

    #[test]
    fn options_and_patterns_are_no_references() {
        for name in ["--upload-pack=x", "-x", "a b", "a*", "a..b", "a:b", "a\n"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["", "main", "feature/x", "v1.0", "refs/pull/1/head"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}
