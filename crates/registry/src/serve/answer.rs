//! From a request to what is sent back, without sending it.

use std::ops::Range;

use rbuild_oci::Digest;
use serde_json::json;

use super::content::Content;
use super::head::{Head, Method, Wanted, wanted};

/// An answer: the head as text, and what follows it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: Body,
}

/// What follows the head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing: it was asked for the head alone.
    Nothing,
    /// A message.
    Text(String),
    /// A document of the image.
    Document(Vec<u8>),
    /// A part of a blob.
    Blob(Digest, Range<u64>),
}

/// Answers a request.
pub(super) fn answer(content: &Content, head: &Head) -> Answer {
    let reply = match head.method {
        Method::Other => Reply::error(405, "UNSUPPORTED", "only GET and HEAD are served here")
            .with("Allow", "GET, HEAD"),
        _ => find(content, head),
    };
    reply.close(head)
}

/// Answers what is no request.
pub(super) fn refusal() -> Answer {
    let head = Head {
        method: Method::Get,
        path: String::new(),
        range: None,
        keep: false,
    };
    Reply::error(
        400,
        "UNSUPPORTED",
        "plain HTTP without bodies is spoken here",
    )
    .close(&head)
}

fn find(content: &Content, head: &Head) -> Reply {
    let Some(path) = head.path.strip_prefix("/v2/") else {
        return unknown();
    };
    if path.is_empty() {
        return Reply::new(200, Body::Text("{}".to_owned()), 2);
    }
    match path.split('/').collect::<Vec<_>>().as_slice() {
        [name, "manifests", reference] if content.is_repository(name) => {
            content.count_request();
            document(content, reference)
        }
        [name, "blobs", digest] if content.is_repository(name) => {
            content.count_request();
            blob(content, digest, head.range.as_deref())
        }
        // The same for a wrong name as for a wrong path: nothing can be learned from it.
        _ => unknown(),
    }
}

fn document(content: &Content, reference: &str) -> Reply {
    let Some((digest, document)) = content.document(reference) else {
        return Reply::error(404, "MANIFEST_UNKNOWN", "no such manifest in this image");
    };
    let size = document.bytes.len() as u64;
    Reply::new(200, Body::Document(document.bytes.clone()), size)
        .with("Content-Type", &document.media_type)
        .with("Docker-Content-Digest", &digest.to_string())
}

fn blob(content: &Content, digest: &str, range: Option<&str>) -> Reply {
    let Some((digest, size)) = content.blob(digest) else {
        return Reply::error(404, "BLOB_UNKNOWN", "no such blob in this image");
    };
    let (status, part) = match wanted(range, size) {
        Wanted::All => (200, 0..size),
        Wanted::Part(part) => (206, part),
        Wanted::Nothing => {
            return Reply::error(416, "SIZE_INVALID", "the range lies behind the end")
                .with("Content-Range", &format!("bytes */{size}"));
        }
    };
    let name = digest.to_string();
    let length = part.end - part.start;
    let stated = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1));
    let reply = Reply::new(status, Body::Blob(digest, part), length)
        .with("Content-Type", "application/octet-stream")
        .with("Accept-Ranges", "bytes")
        .with("Docker-Content-Digest", &name);
    match status {
        206 => reply.with("Content-Range", &stated),
        _ => reply,
    }
}

fn unknown() -> Reply {
    Reply::error(404, "NAME_UNKNOWN", "no such repository")
}

/// An answer in the making.
struct Reply {
    status: u16,
    headers: String,
    body: Body,
    length: u64,
}

impl Reply {
    fn new(status: u16, body: Body, length: u64) -> Self {
        let headers = "Docker-Distribution-Api-Version: registry/2.0\r\n".to_owned();
        Self {
            status,
            headers,
            body,
            length,
        }
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        let text = json!({ "errors": [{ "code": code, "message": message }] }).to_string();
        let length = text.len() as u64;
        Self::new(status, Body::Text(text), length).with("Content-Type", "application/json")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    fn close(self, head: &Head) -> Answer {
        let reason = match self.status {
            200 => "OK",
            206 => "Partial Content",
            404 => "Not Found",
            405 => "Method Not Allowed",
            416 => "Range Not Satisfiable",
            _ => "Bad Request",
        };
        let connection = if head.keep { "keep-alive" } else { "close" };
        let body = match head.method {
            Method::Head => Body::Nothing,
            _ => self.body,
        };
        Answer {
            head: format!(
                "HTTP/1.1 {} {reason}\r\n{}Content-Length: {}\r\nConnection: {connection}\r\n\r\n",
                self.status, self.headers, self.length
            ),
            body,
        }
    }
}
