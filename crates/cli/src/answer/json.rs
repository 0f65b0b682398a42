//! Answers as JSON, in BuildKit's form.
//!
//! Lines are counted from 1 and BuildKit's characters are always 0. What rbuild knows more exactly
//! stands in keys of its own: `help`, and `place` with lines and columns from 1.

use rbuild::{Access, CheckReport, Finding, LineRange, OutlineReport, SourceFile, TargetsReport};
use serde_json::{Map, Value, json};

use super::lists::SUBREQUESTS;

/// What a check found.
pub fn check(report: &CheckReport) -> String {
    let source = &report.source;
    let warnings = report.findings.iter();
    let mut object = json!({
        "warnings": warnings.map(|found| warning(found, source)).collect::<Vec<_>>(),
        "sources": [{
            "filename": source.name(),
            "language": "Dockerfile",
            "data": base64(source.text().as_bytes()),
        }],
    });
    if let Some(error) = &report.error {
        let mut found = json!({ "message": error.message });
        if let Some(place) = error.excerpts.first() {
            found["location"] = location(LineRange {
                first: place.first_line,
                last: place.last_line,
            });
        }
        object["buildError"] = found;
    }
    pretty(&object)
}

fn warning(found: &Finding, source: &SourceFile) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("ruleName", found.rule.into());
    put("description", found.reason.into());
    if let Some(url) = &found.url {
        put("url", url.clone().into());
    }
    put("detail", found.message.clone().into());
    if found.lines.first > 0 {
        put("location", location(found.lines));
    }
    if let Some(span) = found.span {
        let at = |offset| {
            let position = source.position(offset);
            json!({ "line": position.line, "column": position.column })
        };
        put(
            "place",
            json!({ "start": at(span.start), "end": at(span.end) }),
        );
    }
    if let Some(help) = &found.help {
        put("help", help.clone().into());
    }
    object.into()
}

/// What a target takes from outside.
pub fn outline(report: &OutlineReport) -> String {
    let (outline, source) = (&report.outline, &report.source);
    let mut object = Object::default();
    object.put("name", outline.name.clone());
    object.put("description", outline.description.clone());
    let args = outline.args.iter().map(|arg| {
        let mut one = Object::default();
        one.put("name", Some(arg.name.clone()));
        one.put("description", arg.description.clone());
        one.put("value", arg.value.clone());
        one.0
            .insert("location".to_owned(), location(source.lines_of(arg.span)));
        one.0.into()
    });
    object.put_list("args", args.collect());
    object.put_list("secrets", accesses(&outline.secrets, source));
    object.put_list("ssh", accesses(&outline.ssh, source));
    object.put_list("sources", vec![base64(source.text().as_bytes()).into()]);
    pretty(&object.0.into())
}

fn accesses(list: &[Access], source: &SourceFile) -> Vec<Value> {
    let one = |access: &Access| {
        let mut one = Object::default();
        one.put("name", Some(access.name.clone()));
        if access.required {
            one.0.insert("required".to_owned(), true.into());
        }
        let place = location(source.lines_of(access.span));
        one.0.insert("location".to_owned(), place);
        one.0.into()
    };
    list.iter().map(one).collect()
}

/// The targets there are.
pub fn targets(report: &TargetsReport) -> String {
    let last = report.targets.len().saturating_sub(1);
    let targets = report.targets.iter().enumerate().map(|(at, target)| {
        let mut one = Object::default();
        one.put("name", target.name.clone());
        if at == last {
            one.0.insert("default".to_owned(), true.into());
        }
        one.put("description", target.description.clone());
        one.put("base", Some(target.base.clone()));
        one.put("platform", target.platform.clone());
        one.0.insert("location".to_owned(), location(target.lines));
        one.0.into()
    });
    let mut object = Object::default();
    object
        .0
        .insert("targets".to_owned(), targets.collect::<Vec<Value>>().into());
    let text = report.source.text().as_bytes();
    object.put_list("sources", vec![base64(text).into()]);
    pretty(&object.0.into())
}

/// What can be asked.
pub fn describe() -> String {
    let all = SUBREQUESTS.iter().map(|(name, what)| {
        json!({ "name": format!("frontend.{name}"), "version": "1.0.0", "type": "rpc",
                "description": what })
    });
    pretty(&all.collect::<Vec<_>>().into())
}

/// An object whose empty members are left out, as Go writes them.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.0.insert(key.to_owned(), value.into());
        }
    }

    fn put_list(&mut self, key: &str, list: Vec<Value>) {
        if !list.is_empty() {
            self.0.insert(key.to_owned(), list.into());
        }
    }
}

fn location(lines: LineRange) -> Value {
    let at = |line: u32| json!({ "line": line, "character": 0 });
    let range = json!({ "start": at(lines.first), "end": at(lines.last) });
    json!({ "sourceIndex": 0, "ranges": [range] })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Base64 with padding (RFC 4648, section 4), as Go writes bytes in JSON.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0u32, |group, byte| group << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let index = (group >> (18 - 6 * at)) & 63;
            out.push(match at <= chunk.len() {
                true => ALPHABET[index as usize].into(),
                false => '=',
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_padded() {
        // Source: RFC 4648, section 10.
        for (text, wanted) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\u{ff}\u{fe}", "w7/Dvg=="),
        ] {
            assert_eq!(base64(text.as_bytes()), wanted);
        }
    }
}
