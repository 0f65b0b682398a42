//! Comments that describe an argument or a stage.

use super::finding;
use crate::ast::Header;
use crate::diagnostic::{Code, Diagnostic};
use crate::word::Word;

/// The last comment line above begins with a name that the instruction defines.
///
/// Blank lines between the two do not count, as in BuildKit, whose manual says they do.
pub(super) fn describes(
    header: &Header,
    instruction: &str,
    names: &[&Word],
    found: &mut Vec<Diagnostic>,
) {
    let (Some(comment), Some(first)) = (header.comments.last(), names.first()) else {
        return;
    };
    let begin = comment.text.split(' ').next().unwrap_or_default();
    if names.iter().any(|name| name.text == begin) {
        return;
    }
    let example = match names.len() {
        1 => first.as_str(),
        _ => "<arg_key>",
    };
    let message =
        format!("Comment for {instruction} should follow the format: `# {example} <description>`");
    found.push(finding(
        (Code::InvalidDefinitionDescription, message),
        (comment.span, header.lines),
        "A line with nothing but `#` sets off a comment that describes something else.".to_owned(),
    ));
}
