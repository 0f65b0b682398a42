//! The parser's results as JSON, in the form of the conformance corpus.
//!
//! One object for each file, to be compared with what BuildKit's packages make of it: the lines
//! (`nodes`, `dump`), then the typed instructions (`meta_args`, `stages`), or the error that stops
//! BuildKit at either. Findings of the linter and of the build are not part of it.

mod command;
mod dump;

use serde_json::{Map, Value, json};

use crate::diagnostic::{Code, Diagnostic, Phase, Severity};
use crate::line::{LineFile, read_lines};
use crate::node::{Arguments, Node, PairStyle};
use crate::parse::assemble;
use crate::source::decode;
use crate::word::Word;

/// An object under construction; what is empty is left out where the form says so.
#[derive(Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// Adds a value.
    pub(crate) fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Adds a value unless it is null, false, or an empty string or list.
    pub(crate) fn put_some(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let empty = match &value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Number(_) | Value::Object(_) => false,
        };
        if !empty {
            self.0.insert(key.to_owned(), value);
        }
    }

    /// Returns the finished object.
    pub(crate) fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// The texts of words as a list.
pub(crate) fn texts(words: &[Word]) -> Value {
    words.iter().map(|word| word.text.clone()).collect()
}

/// Returns what the parser makes of a file, as one JSON object.
///
/// `file` is only a name. Keys and values are those of the conformance corpus, `lint` and
/// `build_error` left out.
pub fn oracle_json(file: &str, text: &[u8]) -> Value {
    let text = decode(text);
    let lines = read_lines(&text);
    let mut object = Object::default();
    object.put("file", file);
    let syntax_error = lines.diagnostics.iter().find(|found| found.is_error());
    if let Some(error) = syntax_error {
        object.put_some("syntax", lines.directives.syntax_reference());
        object.put_some("check", lines.directives.check_options());
        object.put("parse_error", error_json(error));
        object.put("instructions_error", Value::Null);
        return object.done();
    }
    put_lines(&mut object, &lines);
    let parsed = assemble(lines);
    let error = parsed
        .diagnostics
        .iter()
        // A file of nothing but ARG is refused later, by the build.
        .find(|found| found.is_error() && found.code != Code::NoStages);
    match error {
        Some(error) => object.put("instructions_error", error_json(error)),
        None => {
            object.put("instructions_error", Value::Null);
            let stages: Vec<Value> = parsed
                .dockerfile
                .stages
                .iter()
                .map(command::stage)
                .collect();
            let args: Vec<Value> = parsed
                .dockerfile
                .meta_args
                .iter()
                .map(command::json)
                .collect();
            object.put_some("meta_args", args);
            object.put_some("stages", stages);
        }
    }
    object.done()
}

fn put_lines(object: &mut Object, lines: &LineFile) {
    object.put("escape", lines.directives.escape.to_string());
    object.put_some("syntax", lines.directives.syntax_reference());
    object.put_some("check", lines.directives.check_options());
    object.put("parse_error", Value::Null);
    let warnings = lines.diagnostics.iter();
    let warnings = warnings.filter(|found| found.severity == Severity::Warning);
    object.put_some("parse_warnings", warnings.map(warning).collect::<Vec<_>>());
    object.put_some("nodes", lines.nodes.iter().map(node).collect::<Vec<_>>());
    object.put_some("dump", dump::dump(&lines.nodes));
}

fn error_json(error: &Diagnostic) -> Value {
    let message = match error.code {
        // The parser itself knows no empty file; what calls it does.
        Code::EmptyFile => "file with no instructions".to_owned(),
        _ => error.full_message(),
    };
    let mut object = Object::default();
    object.put("message", message);
    object.put("line", error.lines.first);
    if error.lines.first > 0 || error.phase != Phase::Syntax {
        object.put("end_line", error.lines.last);
    }
    object.done()
}

fn warning(found: &Diagnostic) -> Value {
    json!({
        "rule": "",
        "message": found.message,
        "line": found.lines.first,
        "end_line": found.lines.last,
    })
}

fn node(node: &Node) -> Value {
    let header = &node.header;
    let mut object = Object::default();
    object.put("cmd", header.keyword.text.as_str());
    object.put("start", header.lines.first);
    object.put("end", header.lines.last);
    object.put("original", header.original.as_str());
    object.put_some("flags", texts(&node.flags));
    object.put_some("json", is_json(&node.arguments));
    object.put_some("args", flat(node));
    let heredocs = node.heredocs.iter().map(|file| {
        json!({
            "name": file.name,
            "fd": file.descriptor,
            "expand": file.expand,
            "chomp": file.chomp,
            "content": file.data,
        })
    });
    object.put_some("heredocs", heredocs.collect::<Vec<_>>());
    object.put_some("comments", texts(&header.comments));
    object.done()
}

fn is_json(arguments: &Arguments) -> bool {
    match arguments {
        Arguments::Json(_) => true,
        Arguments::Health(_, command) => is_json(command),
        Arguments::Words(_) | Arguments::Pairs(_) | Arguments::Nested(_) => false,
    }
}

/// The arguments as BuildKit's flat list: three strings for a name and value, keyword first for a
/// nested instruction, one empty string for an unknown one.
fn flat(node: &Node) -> Vec<String> {
    if node.keyword().is_none() {
        return vec![String::new()];
    }
    flat_arguments(&node.arguments)
}

fn flat_arguments(arguments: &Arguments) -> Vec<String> {
    match arguments {
        Arguments::Words(words) | Arguments::Json(words) => {
            words.iter().map(|word| word.text.clone()).collect()
        }
        Arguments::Health(kind, command) => {
            let mut all = vec![kind.text.clone()];
            all.extend(flat_arguments(command));
            all
        }
        Arguments::Pairs(pairs) => pairs
            .iter()
            .flat_map(|pair| {
                let mark = match pair.style {
                    PairStyle::Equals => "=",
                    PairStyle::Blank => "",
                };
                [&pair.key.text, &pair.value.text, mark].map(str::to_owned)
            })
            .collect(),
        Arguments::Nested(inner) => {
            let mut all = vec![inner.header.keyword.text.clone()];
            all.extend(flat(inner));
            all
        }
    }
}
