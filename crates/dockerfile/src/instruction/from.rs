//! FROM: the head of a stage.

use super::Request;
use crate::ast::Stage;
use crate::diagnostic::{Code, Fault};
use crate::flag::FlagKind;
use crate::quote::go_quote;
use crate::word::Word;

/// Reads FROM.
///
/// Grammar: dockerfile.ebnf#from
pub(super) fn stage(mut request: Request) -> Result<Stage, Fault> {
    let mut words = request.take_words().into_iter();
    let (base, written_name) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(base), None, None, None) => (base, None),
        (Some(base), Some(between), Some(name), None)
            if between.text.eq_ignore_ascii_case("as") =>
        {
            (base, Some(name))
        }
        _ => {
            let message = "FROM requires either one or three arguments";
            let fault = request.fault(Code::ArgumentCount, message);
            return Err(fault.help("Write `FROM image` or `FROM image AS name`."));
        }
    };
    let name = written_name.as_ref().map(stage_name).transpose()?;
    let flags = request.flags(&[("platform", FlagKind::Text)])?;
    let doc = name
        .as_ref()
        .and_then(|name| request.header.description(&name.text));
    Ok(Stage {
        name,
        written_name,
        base,
        platform: flags.text("platform"),
        doc,
        from: request.header,
        instructions: Vec::new(),
    })
}

/// Lower-cases and checks the name of a stage.
///
/// Grammar: dockerfile.ebnf#stage-name
fn stage_name(written: &Word) -> Result<Word, Fault> {
    let name = written.text.to_lowercase();
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|ch| ch.is_ascii_lowercase());
    let allowed =
        |ch: char| ch.is_ascii_lowercase() || ch.is_ascii_digit() || matches!(ch, '-' | '_' | '.');
    if starts && chars.all(allowed) {
        return Ok(Word::new(name, written.span));
    }
    let message = format!(
        "invalid name for build stage: {}, name can't start with a number or contain symbols",
        go_quote(&written.text)
    );
    let fault = Fault::new(Code::InvalidStageName, message, written.span);
    Err(fault.help("Names begin with a letter and hold letters, digits, `-`, `_` and `.`."))
}
