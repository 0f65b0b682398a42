//! The head of a request: method, path, and the few headers that matter here.

use std::ops::Range;

/// Most header lines that are looked at; no engine sends as many.
const MAX_HEADERS: usize = 64;

/// A request without a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Method,
    /// Path without query.
    pub(super) path: String,
    /// Value of `Range`.
    pub(super) range: Option<String>,
    /// Whether the client keeps the connection for another request.
    pub(super) keep: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Other,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// The beginning of a head.
    Partial,
    /// A head that takes up so many bytes.
    Whole(Head, usize),
    /// No HTTP, or a request with a body.
    Wrong,
}

/// Reads a head from the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Parsed::Partial,
        Err(_) => return Parsed::Wrong,
    };
    let value = |name: &str| {
        let found = request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let has_body = value("transfer-encoding").is_some()
        || value("content-length").is_some_and(|length| length.trim() != "0");
    let (Some(method), Some(target), Some(version), false) =
        (request.method, request.path, request.version, has_body)
    else {
        return Parsed::Wrong;
    };
    let keep = match value("connection").map(str::to_ascii_lowercase).as_deref() {
        Some("close") => false,
        Some("keep-alive") => true,
        _ => version == 1,
    };
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    let head = Head {
        method: match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        },
        path: path.to_owned(),
        range: value("range").map(str::to_owned),
        keep,
    };
    Parsed::Whole(head, length)
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything: no header, several ranges, or a unit that nobody knows.
    All,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that are not there.
    Nothing,
}

/// Reads a `Range` header for content of `size` bytes.
///
/// Source: RFC 9110, 14.2.
pub(super) fn wanted(range: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = range
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.trim().is_empty() => first..size,
        (None, Some(last)) if first.trim().is_empty() => size.saturating_sub(last)..size,
        _ => return Wanted::All,
    };
    match part.start < part.end {
        true => Wanted::Part(part),
        false => Wanted::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_has_them() {
        let check = |range: &str, expected: Wanted| {
            assert_eq!(wanted(Some(range), 10), expected, "{range}");
        };
        assert_eq!(wanted(None, 10), Wanted::All);
        check("bytes=0-3", Wanted::Part(0..4));
        check("bytes=4-", Wanted::Part(4..10));
        check("bytes=4-400", Wanted::Part(4..10));
        check("bytes=-3", Wanted::Part(7..10));
        check("bytes=-30", Wanted::Part(0..10));
        check("bytes=0-18446744073709551615", Wanted::Part(0..10));
        check("bytes=10-", Wanted::Nothing);
        check("bytes=-0", Wanted::Nothing);
        check("bytes=3-1", Wanted::All);
        check("bytes=0-1,3-4", Wanted::All);
        check("lines=0-1", Wanted::All);
        check("bytes=x-", Wanted::All);
    }

    #[test]
    fn heads_are_whole_partial_or_wrong() {
        let text = b"GET /v2/?n=1 HTTP/1.1\r\nHost: h\r\nrange: bytes=1-\r\n\r\nGET";
        let head = Head {
            method: Method::Get,
            path: "/v2/".to_owned(),
            range: Some("bytes=1-".to_owned()),
            keep: true,
        };
        assert_eq!(parse(text), Parsed::Whole(head, text.len() - 3));
        assert_eq!(parse(&text[..20]), Parsed::Partial);
        // The first bytes of a TLS handshake.
        assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01"), Parsed::Wrong);
        let check_wrong = |text: &str| assert_eq!(parse(text.as_bytes()), Parsed::Wrong, "{text}");
        check_wrong("POST /v2/ HTTP/1.1\r\nContent-Length: 3\r\n\r\n");
        check_wrong("GET /v2/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        let many = "A: b\r\n".repeat(MAX_HEADERS + 1);
        check_wrong(&format!("GET / HTTP/1.1\r\n{many}\r\n"));
        let kept = |text: &[u8]| matches!(parse(text), Parsed::Whole(head, _) if head.keep);
        assert!(!kept(b"GET / HTTP/1.0\r\n\r\n"));
        assert!(!kept(b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n"));
        assert!(kept(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }
}
