//! Upper and lower case of keywords.

use super::finding;
use crate::ast::{Header, Stage};
use crate::diagnostic::{Code, Diagnostic};
use crate::word::Word;

/// AS follows FROM, where FROM is in one case itself.
pub(super) fn from_as(header: &Header, words: &[Word], found: &mut Vec<Diagnostic>) {
    let [_, between, _, ..] = words else {
        return;
    };
    let keyword = &header.keyword.text;
    let wanted = match Case::of(keyword) {
        // The keyword itself is what breaks a rule then.
        Case::Mixed => return,
        case => case.apply(&between.text),
    };
    if between.text == wanted {
        return;
    }
    let message = format!(
        "'{}' and '{keyword}' keywords' casing do not match",
        between.text
    );
    found.push(finding(
        (Code::FromAsCasing, message),
        (between.span, header.lines),
        format!("Write `{wanted}`."),
    ));
}

/// Keywords follow the majority of the file; where there is none, they are in upper case.
///
/// ARG before the first FROM neither counts nor is looked at, as in BuildKit.
pub(super) fn keywords(stages: &[Stage], found: &mut Vec<Diagnostic>) {
    let headers = || {
        stages.iter().flat_map(|stage| {
            let own = stage.instructions.iter();
            std::iter::once(&stage.from).chain(own.map(|instruction| &instruction.header))
        })
    };
    let count = |case| {
        headers()
            .filter(|header| Case::of(&header.keyword.text) == case)
            .count()
    };
    let (majority, name) = match count(Case::Lower) > count(Case::Upper) {
        true => (Case::Lower, "lowercase"),
        false => (Case::Upper, "uppercase"),
    };
    for header in headers() {
        let keyword = &header.keyword;
        let wanted = majority.apply(&keyword.text);
        if keyword.text == wanted {
            continue;
        }
        let message = format!(
            "Command '{}' should match the case of the command majority ({name})",
            keyword.text
        );
        found.push(finding(
            (Code::ConsistentInstructionCasing, message),
            (keyword.span, header.lines),
            format!("Write `{wanted}`."),
        ));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
    Mixed,
}

impl Case {
    fn of(word: &str) -> Case {
        if word == word.to_lowercase() {
            Case::Lower
        } else if word == word.to_uppercase() {
            Case::Upper
        } else {
            Case::Mixed
        }
    }

    fn apply(self, word: &str) -> String {
        match self {
            Case::Lower => word.to_lowercase(),
            Case::Upper => word.to_uppercase(),
            Case::Mixed => word.to_owned(),
        }
    }
}
