//! What is asked of an engine: pull, load, name, forget and look at an image.

use std::fs::File;
use std::io::{BufReader, Read};

use rbuild_oci::{Digest, Platform, Reference};
use rbuild_progress::CancelToken;
use serde::Deserialize;

use super::message::Body;
use super::wire::{Hangup, Wire};
use super::{Daemon, MAX_DOCUMENT, read_line, request_head};
use crate::{Error, Result};

/// Longest line of a progress stream that is read.
const MAX_LINE: u64 = 1 << 20;

/// An image as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DaemonImage {
    /// What the engine names it by.
    pub id: String,
    /// Its names.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
}

/// One line of what an engine tells while it pulls or loads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PullStep {
    /// The layer it is about.
    #[serde(default)]
    pub id: String,
    /// What is done with it, in the engine's words.
    #[serde(default)]
    pub status: String,
    /// How far that is.
    #[serde(default, rename = "progressDetail")]
    pub progress: PullProgress,
    /// Output of a load, in the engine's words.
    #[serde(default)]
    pub stream: String,
}

/// How far a step of a pull is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "ProgressDetail")]
pub struct PullProgress {
    /// Bytes done; 0 if unknown.
    pub current: u64,
    /// Bytes in all; 0 if unknown.
    pub total: u64,
}

/// Progress as it comes: containerd's store counts seconds while it unpacks.
#[derive(Deserialize)]
struct ProgressDetail {
    #[serde(default)]
    current: u64,
    #[serde(default)]
    total: u64,
    #[serde(default)]
    units: String,
}

impl From<ProgressDetail> for PullProgress {
    fn from(detail: ProgressDetail) -> Self {
        match detail.units.as_str() {
            "" => Self {
                current: detail.current,
                total: detail.total,
            },
            _ => Self::default(),
        }
    }
}

/// A line as it comes: a step, or why there are no more.
#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    step: PullStep,
    #[serde(default)]
    error: Option<String>,
    #[serde(default, rename = "errorDetail")]
    detail: Option<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    message: String,
}

impl Daemon {
    /// Has the engine pull `name@digest`, where `name` is `HOST:PORT/REPOSITORY`; of an index the
    /// image for `platform`, if that is given.
    ///
    /// Errors: [`Error::DaemonRefused`] also for an error in the middle of the stream, of status 200.
    pub fn pull(
        &self,
        (name, digest): (&str, &Digest),
        platform: Option<&Platform>,
        told: &mut dyn FnMut(PullStep),
        cancel: &CancelToken,
    ) -> Result<()> {
        let mut path = format!("/images/create?fromImage={}&tag={digest}", escaped(name));
        if let Some(platform) = platform {
            path.push_str(&format!("&platform={}", escaped(&platform.to_string())));
        }
        // Docker ignores it; Podman behind the same API asks for TLS on loopback hosts otherwise.
        path.push_str("&tlsVerify=false");
        let body = self.ask("pull", ("POST", &path), cancel)?;
        self.follow("pull", body, told)
    }

    /// Gives an image one more name, which leaves the image that had it.
    pub fn tag(&self, image: &str, name: &Reference, cancel: &CancelToken) -> Result<()> {
        let tag = name.tag().unwrap_or("latest");
        let path = format!(
            "/images/{}/tag?repo={}&tag={}",
            escaped(image),
            escaped(&name.name()),
            escaped(tag)
        );
        self.done("name an image", ("POST", &path), cancel)
    }

    /// Takes a name from an image. One that is not there is no failure.
    pub fn forget(&self, name: &str, cancel: &CancelToken) -> Result<()> {
        let path = format!("/images/{}?noprune=true", escaped(name));
        match self.done("remove a name", ("DELETE", &path), cancel) {
            Err(Error::DaemonRefused { status: 404, .. }) => Ok(()),
            other => other,
        }
    }

    /// The image that a name or id stands for, if there is one.
    pub fn image(&self, name: &str, cancel: &CancelToken) -> Result<Option<DaemonImage>> {
        let path = format!("/images/{}/json", escaped(name));
        match self.document("look at an image", ("GET", &path), cancel) {
            Err(Error::DaemonRefused { status: 404, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Begins to load an archive of `length` bytes.
    pub fn load(&self, length: u64, cancel: &CancelToken) -> Result<LoadStream> {
        let mut wire = Wire::connect(self, cancel)?;
        let broken = |source| self.broken("load", source);
        let kind = "Content-Type: application/x-tar\r\n";
        let head = request_head("POST", "/images/load?quiet=true", length, kind);
        wire.send(head.as_bytes()).map_err(broken)?;
        Ok(LoadStream {
            daemon: self.clone(),
            writer: wire.writer().map_err(broken)?.into(),
            hangup: wire.hangup().map_err(broken)?,
            wire,
        })
    }

    fn done(
        &self,
        attempt: &'static str,
        request: (&str, &str),
        cancel: &CancelToken,
    ) -> Result<()> {
        let body = self.ask(attempt, request, cancel)?;
        // To its end, so that what was asked for is known to have happened.
        let read = std::io::copy(&mut body.take(MAX_DOCUMENT), &mut std::io::sink());
        read.map_err(|source| self.broken(attempt, source))?;
        Ok(())
    }

    /// Reads a stream of progress to its end.
    fn follow(
        &self,
        attempt: &'static str,
        body: Body<BufReader<Wire>>,
        told: &mut dyn FnMut(PullStep),
    ) -> Result<()> {
        let mut lines = BufReader::new(body);
        loop {
            let line = read_line(&mut lines, MAX_LINE);
            let line = line.map_err(|source| self.broken(attempt, source))?;
            if line.is_empty() {
                return Ok(());
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let line: Line = serde_json::from_slice(&line)
                .map_err(|error| self.broken(attempt, error.into()))?;
            let failed = line.detail.map(|detail| detail.message).or(line.error);
            if let Some(message) = failed {
                return Err(Error::DaemonRefused {
                    address: self.address.to_string(),
                    attempt,
                    status: 200,
                    message,
                });
            }
            told(line.step);
        }
    }
}

/// An archive on its way into an engine: write it, then [`LoadStream::finish`].
#[must_use = "dropping it breaks the load off"]
pub struct LoadStream {
    daemon: Daemon,
    writer: File,
    hangup: Hangup,
    wire: Wire,
}

impl LoadStream {
    /// Where the archive goes. Writing fails where the engine has given up; it says why in
    /// [`LoadStream::finish`].
    pub fn writer(&self) -> std::io::Result<File> {
        self.writer.try_clone()
    }

    /// Breaks the load off, from whichever thread.
    pub fn end(&self) {
        self.hangup.end();
    }

    /// Hears how it went.
    pub fn finish(self, told: &mut dyn FnMut(PullStep)) -> Result<()> {
        let body = self.daemon.answer("load", self.wire)?;
        self.daemon.follow("load", body, told)
    }
}

/// Text as part of a path or query; slashes and colons, which image names are full of, stay.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' | b':' | b'@' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_are_progress() {
        let read = |text: &str| serde_json::from_str::<PullStep>(text).unwrap().progress;
        let bytes = PullProgress {
            current: 1,
            total: 2,
        };
        assert_eq!(
            read("{\"progressDetail\":{\"current\":1,\"total\":2}}"),
            bytes
        );
        let seconds = "{\"progressDetail\":{\"current\":3,\"units\":\"s\"}}";
        assert_eq!(read(seconds), PullProgress::default());
        assert_eq!(read("{\"progressDetail\":{}}"), PullProgress::default());
    }

    #[test]
    fn names_go_into_paths_without_changing_them() {
        let check = |text: &str, expected: &str| assert_eq!(escaped(text), expected);
        check("127.0.0.1:5000/a@sha256:00", "127.0.0.1:5000/a@sha256:00");
        check("a b?c=d&e#f%", "a%20b%3Fc%3Dd%26e%23f%25");
    }
}
