//! The one canonical JSON encoder.
//!
//! Image digests are digests of JSON text, so equal documents must have equal bytes, and to agree
//! with other builders those are the bytes that Go's encoder writes: no blanks or an indent of
//! two spaces, and `<`, `>`, `&`, U+2028, U+2029 escaped. Order of keys is decided by the types
//! that are encoded; none of them uses a hash map.

use serde::{Deserialize, Deserializer, Serialize};

/// Encodes without blanks, as image configs are. No newline at the end.
///
/// Errors only for what JSON cannot hold: maps with keys that are not text.
pub fn compact<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(value).map(escape)
}

/// Encodes with an indent of two spaces, as manifests and indexes are. No newline at the end.
///
/// Errors as [`compact`].
pub fn indented<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map(escape)
}

/// Escapes what Go escapes for HTML and JavaScript.
///
/// None of these characters has a meaning in JSON outside strings, so replacing bytes in the
/// finished text touches strings only.
fn escape(json: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut rest = json.as_slice();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
            0xe2 => match after {
                [0x80, last @ (0xa8 | 0xa9), tail @ ..] => {
                    out.extend_from_slice(if *last == 0xa8 {
                        b"\\u2028"
                    } else {
                        b"\\u2029"
                    });
                    rest = tail;
                }
                _ => out.push(byte),
            },
            _ => out.push(byte),
        }
    }
    out
}

/// Reads `null` as the empty value: Go writes an empty list or map either way.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn escapes_as_go_does() {
        let text = "a<b> && \u{2028}\u{2029}\u{2027}é\u{7f}\u{1}\u{8}\"\\/";
        let bytes = compact(&json!({ "k<": text })).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "{\"k\\u003c\":\"a\\u003cb\\u003e \\u0026\\u0026 \\u2028\\u2029\u{2027}é\u{7f}\\u0001\\b\\\"\\\\/\"}"
        );
    }

    #[test]
    fn indents_by_two_and_keeps_empties_on_one_line() {
        let bytes = indented(&json!({ "a": [], "b": {}, "c": [1] })).unwrap();
        let wanted = "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1\n  ]\n}";
        assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
    }
}
