//! The exec form: what counts as a JSON array of strings, against another reader of JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_dockerfile::decode;
use rbuild_dockerfile::json_array::{JsonArray, json_array};
use serde::de::IgnoredAny;

/// Only the escapes of halves of a surrogate pair are read in another way: here they become U+FFFD.
fn has_surrogate_escape(text: &str) -> bool {
    text.to_ascii_lowercase().contains("\\ud")
}

fuzz_target!(|bytes: &[u8]| {
    let text = decode(bytes);
    let array = text.trim_start();
    let valid = array.starts_with('[') && serde_json::from_str::<IgnoredAny>(array).is_ok();
    let found = json_array(&text);
    assert_eq!(found != JsonArray::NotJson, valid, "{text:?}: {found:?}");
    if let JsonArray::Strings(strings) = &found {
        let mut rest = array;
        for (_, source) in strings {
            let at = rest.find(source).expect("sources stand in order");
            rest = &rest[at + source.len()..];
            assert!(source.len() > 1 && source.starts_with('"') && source.ends_with('"'));
        }
    }
    if valid && !has_surrogate_escape(&text) {
        let wanted = serde_json::from_str::<Vec<String>>(array).ok();
        let strings = match found {
            JsonArray::Strings(strings) => {
                Some(strings.into_iter().map(|(text, _)| text).collect())
            }
            _ => None,
        };
        assert_eq!(strings, wanted, "{text:?}");
    }
});
