//! What the network said, without the layers of the HTTP stack that passed it on.

use std::error::Error as StdError;

/// What these say is said already by whoever reports that a host cannot be reached.
const ENVELOPES: [&str; 9] = [
    "error sending request",
    "request or response body error",
    "error decoding response body",
    "error reading a body from connection",
    "client error (Connect)",
    "client error (SendRequest)",
    "dns error",
    "error resolving DNS",
    "tcp connect error",
];

/// The cause of a failed exchange in one line. The address is dropped: it may be a signed one.
pub(crate) fn reason(error: reqwest::Error) -> Box<dyn StdError + Send + Sync> {
    told(&error.without_url()).into()
}

/// What an error and its causes say, in one line.
pub(crate) fn told(error: &(dyn StdError + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        // Some repeat what they wrap.
        if !said.last().is_some_and(|last| last.contains(&text)) {
            said.push(text);
        }
        next = inner(error);
    }
    shorten(said)
}

/// The next cause; an I/O error's `source` skips the error that it wraps.
pub(crate) fn inner<'e>(
    error: &'e (dyn StdError + 'static),
) -> Option<&'e (dyn StdError + 'static)> {
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn shorten(said: Vec<String>) -> String {
    let last = said.last().cloned().unwrap_or_default();
    let telling = said.into_iter().map(|mut text| {
        for envelope in ENVELOPES {
            let rest = text.strip_prefix(envelope);
            if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(": ")) {
                text = rest.trim_start_matches(": ").to_owned();
            }
        }
        text
    });
    let telling: Vec<String> = telling.filter(|text| !text.is_empty()).collect();
    match telling.is_empty() {
        true => last,
        false => telling.join(": "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_say_nothing_are_left_out() {
        let check = |said: &[&str], expected: &str| {
            let said = said.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(shorten(said), expected);
        };
        check(
            &[
                "error sending request",
                "client error (Connect)",
                "dns error",
                "error resolving DNS: no such host",
            ],
            "no such host",
        );
        check(
            &[
                "error sending request",
                "client error (Connect)",
                "tunnel error",
                "unsuccessful",
            ],
            "tunnel error: unsuccessful",
        );
        check(&["error sending request"], "error sending request");
        check(&[], "");
    }
}
