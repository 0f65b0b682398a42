//! What a key was made of, in words that people know: kept beside the record to explain later misses.
//!
//! Values of variables and long texts are kept as digests only: whoever reads a note learns which of
//! them differs, never what it was.

use rbuild_graph::{
    CopyAction, ExecMount, ExecMountKind, ExecOp, FileAction, FileOp, ImageOp, Op, keyed_source,
};
use rbuild_oci::{Digest, Platform};
use serde::{Deserialize, Serialize};

use crate::Part;

/// How fields are laid out; a note of another layout is compared with none.
pub const NOTE_FORM: u32 = 2;

/// Name of the field that says what a step is, and what it says of copies.
const INSTRUCTION: &str = "instruction";
const COPY: &str = "COPY or ADD";

/// Length from which a text is kept as its digest only.
const LONG: usize = 2048;

/// What a key was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInputs {
    /// The step as shown to people.
    pub name: String,
    /// Key of the op without its inputs.
    pub op: Digest,
    /// What counts of the op, by the name that people have for it, sorted by it: `arguments`, `workdir`,
    /// `mount /src`. A variable is called `env NAME`, and its value is a digest.
    pub fields: Vec<(String, String)>,
    /// The inputs in the op's order.
    pub inputs: Vec<InputNote>,
    /// The layout of the fields, [`NOTE_FORM`]; 0 in what older versions wrote.
    #[serde(default)]
    pub form: u32,
}

impl KeyInputs {
    /// Whether the step copies files, so that its layer holds what it reads.
    pub fn is_copy(&self) -> bool {
        let instruction = |(name, text): &(String, String)| name == INSTRUCTION && text == COPY;
        self.fields.iter().any(instruction)
    }
}

/// What one input put into a key, and what the input is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputNote {
    /// The input's step as shown to people.
    pub label: String,
    /// What it put in.
    pub part: Part,
    /// What it stood for, where it comes from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceNote>,
    /// Names the list of the files that were read of it, where one was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Digest>,
    /// Whether it is the root file system of the step.
    #[serde(default)]
    pub is_base: bool,
}

/// What an input from outside stood for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SourceNote {
    /// An image.
    Image {
        /// Canonical reference, without the digest that it was pinned to.
        reference: String,
        /// Digest of its manifest.
        manifest: Digest,
        /// Its platform.
        platform: String,
    },
    /// A local directory.
    Local {
        /// `context`, or the name of a named context.
        name: String,
    },
    /// A file behind a URL.
    Url {
        /// Scheme, host and path: what else there is may be secret.
        url: String,
    },
    /// A tree of a git repository.
    Git {
        /// Address, without user.
        remote: String,
        /// Branch, tag or commit as written.
        reference: String,
    },
}

/// What counts of an op, by name, sorted.
pub(crate) fn fields(op: &Op) -> Vec<(String, String)> {
    let mut fields = match op {
        Op::Exec(exec) => exec_fields(exec),
        Op::File(file) => file_fields(file),
        Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) => Vec::new(),
    };
    for (_, value) in &mut fields {
        if value.len() >= LONG {
            *value = Digest::sha256_of(value.as_bytes()).to_string();
        }
    }
    fields.sort();
    fields
}

/// What a source stands for; `None` for a step.
pub(crate) fn source_note(op: &Op) -> Option<SourceNote> {
    Some(match op {
        Op::Image(ImageOp {
            reference,
            manifest,
            platform,
            ..
        }) => SourceNote::Image {
            reference: reference
                .split_once('@')
                .map_or(reference.as_str(), |(name, _)| name)
                .to_owned(),
            manifest: manifest.clone(),
            platform: platform.to_string(),
        },
        Op::Local(local) => SourceNote::Local {
            name: local.name.clone(),
        },
        Op::Http(http) => SourceNote::Url {
            url: bare_address(http.url.as_deref().unwrap_or(&http.name)),
        },
        Op::Git(git) => SourceNote::Git {
            remote: bare_address(&git.remote),
            reference: git.reference.clone(),
        },
        Op::Exec(_) | Op::File(_) => return None,
    })
}

/// Position of the input that is the root file system of a step, also where it does not count.
pub(crate) fn base_of(op: &Op) -> Option<usize> {
    match op {
        Op::Exec(exec) => exec.base,
        Op::File(file) => file.base,
        Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) => None,
    }
}

/// An address without user, password, query and fragment.
pub fn bare_address(address: &str) -> String {
    let end = address.find(['?', '#']).unwrap_or(address.len());
    let address = &address[..end];
    let Some((scheme, rest)) = address.split_once("://") else {
        return match address.split_once('@') {
            Some((_, place)) => place.to_owned(),
            None => address.to_owned(),
        };
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}")
}

fn exec_fields(op: &ExecOp) -> Vec<(String, String)> {
    let mut fields = vec![
        field(INSTRUCTION, "RUN"),
        field("arguments", json(&op.args)),
        field("workdir", &op.cwd),
        field("user", &op.user),
        field("network", word(&op.network)),
        field("security", word(&op.security)),
        field("hostname", &op.hostname),
        field("platform", platform_text(&op.platform)),
        field("shm size", op.shm_size.to_string()),
        field("base", if op.base.is_some() { "" } else { "none" }),
    ];
    let hosts: Vec<&str> = op
        .extra_hosts
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    fields.push(field("extra hosts", hosts.join(" ")));
    for limit in &op.ulimits {
        let name = format!("ulimit {}", limit.name);
        fields.push(field(&name, format!("{}:{}", limit.soft, limit.hard)));
    }
    for (name, value) in &op.env {
        fields.push(field(&format!("env {name}"), digest_text(value.as_bytes())));
    }
    let order: Vec<&str> = op.env.iter().map(|(name, _)| name.as_str()).collect();
    fields.push(field("order of variables", order.join(" ")));
    for mount in &op.mounts {
        fields.push(mount_field(mount));
    }
    fields
}

fn mount_field(mount: &ExecMount) -> (String, String) {
    let access = if mount.read_only { "ro" } else { "rw" };
    let (name, text) = match &mount.kind {
        // Which files they are counts, not where they lie.
        ExecMountKind::Bind { .. } => (format!("mount {}", mount.target), "bind".to_owned()),
        ExecMountKind::Cache {
            id,
            explicit_id,
            input,
            mode,
            uid,
            gid,
            ..
        } => {
            let id = if *explicit_id { "" } else { id.as_str() };
            let from = if input.is_some() { "filled" } else { "empty" };
            let owner = [*mode, *uid, *gid].map(|n| n.map_or("-".to_owned(), |n| n.to_string()));
            let text = format!("cache {id} {from} {}", owner.join(":"));
            (format!("mount {}", mount.target), text)
        }
        ExecMountKind::Tmpfs { size } => {
            let size = size.map_or_else(String::new, |size| size.to_string());
            (format!("mount {}", mount.target), format!("tmpfs {size}"))
        }
        ExecMountKind::Secret {
            id,
            target,
            env,
            required,
            mode,
            uid,
            gid,
        } => {
            let at = target.as_deref().or(env.as_deref()).unwrap_or_default();
            let text = format!("at {at}, required {required}, {mode:o} {uid}:{gid}");
            (format!("secret {id}"), text)
        }
        ExecMountKind::Ssh {
            id,
            target,
            required,
            mode,
            uid,
            gid,
        } => {
            let at = target.as_deref().unwrap_or_default();
            let text = format!("at {at}, required {required}, {mode:o} {uid}:{gid}");
            (format!("ssh agent {id}"), text)
        }
        ExecMountKind::File { bytes, mode } => (
            "here-document".to_owned(),
            format!("{} {} {mode:o}", mount.target, digest_text(bytes)),
        ),
    };
    (name, format!("{text} {access}"))
}

fn file_fields(op: &FileOp) -> Vec<(String, String)> {
    let mut fields = vec![
        field("--link", op.link.to_string()),
        field("base", if op.base.is_some() { "" } else { "none" }),
    ];
    for (at, action) in op.actions.iter().enumerate() {
        let mut of_action = match action {
            FileAction::Copy(copy) => copy_fields(copy),
            FileAction::Mkdir(mkdir) => vec![
                field(INSTRUCTION, "WORKDIR"),
                field("path", &mkdir.path),
                field("mode", format!("{:o}", mkdir.mode)),
                field("owner", json(&mkdir.owner)),
                field("SOURCE_DATE_EPOCH", json(&mkdir.epoch)),
            ],
            FileAction::Write(write) => vec![
                field(INSTRUCTION, COPY),
                field(
                    &format!("here-document {}", write.path),
                    digest_text(&write.data),
                ),
                field("destination", destination(&write.dest, write.dest_is_dir)),
                field("mode", format!("{:o}", write.mode)),
                field("--chown", json(&write.owner)),
                field("--chmod", json(&write.chmod)),
            ],
        };
        if at > 0 {
            for (name, _) in &mut of_action {
                name.push_str(&format!(" ({})", at + 1));
            }
        }
        fields.append(&mut of_action);
    }
    fields
}

fn copy_fields(copy: &CopyAction) -> Vec<(String, String)> {
    let sources: Vec<&str> = copy
        .sources
        .iter()
        .map(|source| keyed_source(copy, source))
        .collect();
    vec![
        field(INSTRUCTION, COPY),
        field("sources", sources.join(" ")),
        field("destination", destination(&copy.dest, copy.dest_is_dir)),
        field("--chown", json(&copy.owner)),
        field("--chmod", json(&copy.chmod)),
        field("--exclude", copy.excludes.join(" ")),
        field("--parents", copy.parents.to_string()),
        field("unpacking", copy.unpack.to_string()),
        field("local source", copy.local.to_string()),
    ]
}

fn destination(path: &str, is_dir: bool) -> String {
    format!("{path}{}", if is_dir { "/" } else { "" })
}

fn field(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn json(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Null) | Err(_) => String::new(),
        Ok(value) => value.to_string(),
    }
}

/// A unit of an enum as it is written.
fn word(value: &impl Serialize) -> String {
    json(value).trim_matches('"').to_owned()
}

fn platform_text(platform: &Platform) -> String {
    let mut text = platform.to_string();
    for feature in &platform.os_features {
        text.push('+');
        text.push_str(feature);
    }
    text
}

fn digest_text(bytes: &[u8]) -> String {
    Digest::sha256_of(bytes).hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_what_may_be_secret() {
        for (address, bare) in [
            ("https://u:p@h:1/a/b?token=x#y", "https://h:1/a/b"),
            ("git@h:a/b.git", "h:a/b.git"),
            ("ssh://git@h/a", "ssh://h/a"),
            ("file.txt", "file.txt"),
            ("https://h?x=a@b", "https://h"),
        ] {
            assert_eq!(bare_address(address), bare);
        }
    }

    #[test]
    fn older_notes_can_be_read() {
        let digest = Digest::sha256_of(b"x");
        let text = format!(
            r#"{{"name":"n","op":"{digest}","fields":[["a","b"]],"inputs":[{{"label":"l","part":{{"by":"content","digest":"{digest}"}}}}]}}"#
        );
        let note: KeyInputs = serde_json::from_str(&text).expect("it is a note");
        assert_eq!((note.form, note.inputs[0].is_base), (0, false));
    }
}
