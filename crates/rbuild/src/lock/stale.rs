//! Which entries the instructions of a Dockerfile could come to, with whatever arguments.

use rbuild_dockerfile::{Dockerfile, InstructionKind};
use rbuild_frontend::Remote;
use rbuild_oci::Reference;
use rbuild_source::{file_name, git_name};

/// Stands for the value of a variable.
const ANYTHING: char = '\u{1}';

/// The names that the instructions of a Dockerfile write.
pub(super) struct Written {
    images: Vec<String>,
    addresses: Vec<String>,
}

impl Written {
    /// Of all stages.
    pub(super) fn of(dockerfile: &Dockerfile) -> Written {
        let escape = dockerfile.directives.escape;
        let mut written = Written {
            images: Vec::new(),
            addresses: Vec::new(),
        };
        for stage in &dockerfile.stages {
            written.images.push(opened(stage.base.as_str(), escape));
            for instruction in &stage.instructions {
                match &instruction.kind {
                    InstructionKind::Add(add) => {
                        let sources = add.files.sources.iter();
                        let sources = sources.map(|source| opened(source.as_str(), escape));
                        written.addresses.extend(sources.map(|text| address(&text)));
                    }
                    InstructionKind::Copy(copy) => {
                        let from = copy.from.iter();
                        written.images.extend(from.map(|from| from.text.clone()));
                    }
                    InstructionKind::Run(run) => {
                        let from = run.mounts.iter().filter_map(|mount| mount.from.clone());
                        written.images.extend(from);
                    }
                    _ => {}
                }
            }
        }
        written
    }

    /// Whether an instruction could name this image.
    pub(super) fn image(&self, reference: &Reference) -> bool {
        let mut names = vec![reference.familiar(), reference.to_string()];
        if reference.tag() == Some("latest") && reference.digest().is_none() {
            let plain = |name: &String| name.strip_suffix(":latest").map(str::to_owned);
            let plain: Vec<String> = names.iter().filter_map(plain).collect();
            names.extend(plain);
        }
        self.images
            .iter()
            .any(|text| match text.contains(ANYTHING) {
                true => names.iter().any(|name| fits(name, text)),
                false => Reference::parse(text).is_ok_and(|named| named == *reference),
            })
    }

    /// Whether an instruction could name this file or this reference of a repository.
    pub(super) fn address(&self, name: &str) -> bool {
        self.addresses.iter().any(|text| fits(name, text))
    }
}

/// The address as an entry would have it.
fn address(text: &str) -> String {
    match Remote::parse(text) {
        Some(Ok(Remote::Git(git))) => git_name(&git.op),
        Some(Ok(Remote::Http(url))) => file_name(&url),
        Some(Err(_)) | None => text.to_owned(),
    }
}

/// A word with what stands for anything in the place of its variables, without quotes.
fn opened(word: &str, escape: char) -> String {
    let mut opened = String::new();
    let mut chars = word.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => {}
            c if c == escape => opened.extend(chars.next()),
            '$' if chars.peek() == Some(&'{') => {
                let mut depth = 0_u32;
                for c in chars.by_ref() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
                opened.push(ANYTHING);
            }
            '$' => {
                while chars
                    .next_if(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .is_some()
                {}
                opened.push(ANYTHING);
            }
            other => opened.push(other),
        }
    }
    opened
}

/// Whether a name has the pieces of a text, in their order, with anything where variables stand.
fn fits(name: &str, text: &str) -> bool {
    let mut pieces = text.split(ANYTHING);
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Written {
        Written::of(&rbuild_dockerfile::parse(text).dockerfile)
    }

    #[test]
    fn images_are_known_by_what_is_written() {
        let text = "ARG V=1\nFROM alpine:$V\nFROM \"debian\" AS b\nCOPY --from=ghcr.io/a/b:2 x /x\n\
                    RUN --mount=from=tools,target=/t true\nFROM reg/${A:-${B}}/x:1-${C}\n";
        let written = written(text);
        for (name, is_known) in [
            ("alpine:3.20", true),
            ("docker.io/library/alpine:x", true),
            (
                "alpine@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                false,
            ),
            ("debian", true),
            ("debian:12", false),
            ("ghcr.io/a/b:2", true),
            ("ghcr.io/a/b:3", false),
            ("tools", true),
            ("reg/y/x:1-2", true),
            ("reg/y/x:2-2", false),
        ] {
            let reference = Reference::parse(name).unwrap();
            assert_eq!(written.image(&reference), is_known, "{name}");
        }
    }

    #[test]
    fn addresses_are_known_by_what_is_written() {
        let text = "FROM scratch\nADD https://$USER:$PW@h/x-${V}.tgz?token=$T /\n\
                    ADD https://h/r.git#$REF:dir /r/\nADD https://h/s.git /s/\nADD $W/file /\n";
        let written = written(text);
        for (name, is_known) in [
            ("https://h/x-1.tgz?token=***", true),
            ("https://h/y-1.tgz?token=***", false),
            ("https://h/r.git#v1", true),
            ("https://h/r.git", false),
            ("https://h/s.git", true),
            ("https://h/s.git#v1", false),
            ("http://other/file", true),
            ("http://other/files", false),
        ] {
            assert_eq!(written.address(name), is_known, "{name}");
        }
    }
}
