//! The head of an answer, and its body in whichever way its length is told.

use std::io::{self, BufRead, Read};

use super::read_line;

/// Most bytes of a head.
const MAX_HEAD: usize = 64 << 10;

/// Most header lines.
const MAX_HEADERS: usize = 64;

/// Longest line between two chunks.
const MAX_CHUNK_LINE: u64 = 1 << 10;

/// Status of an answer, and how its body ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) length: Length,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// So many bytes.
    Stated(u64),
    /// In chunks, each with its length; the last one is empty.
    Chunks,
    /// The connection ends.
    Open,
}

/// Reads the head of an answer; steps over those that only announce one.
pub(super) fn read_head(reader: &mut impl BufRead) -> io::Result<Head> {
    loop {
        let mut bytes = Vec::new();
        loop {
            let line = read_line(reader, MAX_HEAD as u64)?;
            if line.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection ended without an answer",
                ));
            }
            bytes.extend_from_slice(&line);
            if bytes.len() > MAX_HEAD {
                return Err(nonsense());
            }
            if line == b"\r\n" || line == b"\n" {
                break;
            }
        }
        let head = parse(&bytes).ok_or_else(nonsense)?;
        if head.status >= 200 {
            return Ok(head);
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    if !response.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let value = |name: &str| {
        let found = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let chunked = value("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
    let status = response.code?;
    let length = match value("content-length") {
        _ if matches!(status, 204 | 304) => Length::Stated(0),
        _ if chunked => Length::Chunks,
        Some(length) => Length::Stated(length.trim().parse().ok()?),
        None => Length::Open,
    };
    Some(Head { status, length })
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP")
}

/// A body; reading it ends where it ends, and fails if the connection ends before.
pub(super) struct Body<R> {
    reader: R,
    length: Length,
    /// Bytes left of the body or of the current chunk.
    left: u64,
    ended: bool,
    begun: bool,
}

impl<R: BufRead> Body<R> {
    pub(super) fn of(head: &Head, reader: R) -> Self {
        let left = match head.length {
            Length::Stated(length) => length,
            Length::Chunks | Length::Open => 0,
        };
        Self {
            reader,
            length: head.length,
            left,
            ended: head.length == Length::Stated(0),
            begun: false,
        }
    }

    /// Reads the line before a chunk, and the end of the chunk before it.
    fn next_chunk(&mut self) -> io::Result<()> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a chunk without its length");
        if self.begun && read_line(&mut self.reader, MAX_CHUNK_LINE)?.trim_ascii() != b"" {
            return Err(wrong());
        }
        self.begun = true;
        let line = read_line(&mut self.reader, MAX_CHUNK_LINE)?;
        if line.is_empty() {
            return Err(cut());
        }
        let text = String::from_utf8_lossy(&line);
        let digits = text.split(';').next().unwrap_or_default().trim();
        self.left = u64::from_str_radix(digits, 16).map_err(|_| wrong())?;
        self.ended = self.left == 0;
        Ok(())
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        if self.length == Length::Open {
            return self.reader.read(buffer);
        }
        if self.left == 0 {
            self.next_chunk()?;
            if self.ended {
                return Ok(0);
            }
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let got = self.reader.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(cut());
        }
        self.left -= got as u64;
        self.ended = self.left == 0 && self.length != Length::Chunks;
        Ok(got)
    }
}

fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the connection ended in the middle of the answer",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(u16, String), String> {
        let mut reader = text.as_bytes();
        let head = read_head(&mut reader).map_err(|error| error.to_string())?;
        let mut body = String::new();
        let read = Body::of(&head, reader).read_to_string(&mut body);
        read.map_err(|error| error.to_string())?;
        Ok((head.status, body))
    }

    #[test]
    fn bodies_end_where_the_head_says() {
        let check = |text: &str, status: u16, body: &str| {
            assert_eq!(read(text), Ok((status, body.to_owned())), "{text}");
        };
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef",
            200,
            "abc",
        );
        check("HTTP/1.1 200 OK\r\n\r\nabc", 200, "abc");
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "");
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            200,
            "abcde",
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx",
            404,
            "x",
        );
    }

    #[test]
    fn answers_that_break_off_are_failures() {
        let check = |text: &str, expected: &str| {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        };
        check("", "without an answer");
        check("HTTP/1.1 200 OK\r\nContent-", "without an answer");
        check("SSH-2.0-x\r\n\r\n", "no HTTP");
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            "in the middle",
        );
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&format!("{chunked}5\r\nabc"), "in the middle");
        check(&format!("{chunked}3\r\nabc\r\n"), "in the middle");
        check(&format!("{chunked}zz\r\nabc"), "without its length");
        check(&format!("{chunked}3\r\nabcdef\r\n"), "without its length");
    }
}
