//! ONBUILD.

use super::{Request, Typed, typed};
use crate::ast::Instruction;
use crate::diagnostic::{Code, Fault};
use crate::keyword::Keyword;
use crate::node::{Arguments, Node};

/// `ONBUILD instruction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnbuildInstruction {
    /// What goes into the image: the joined line after ONBUILD, with heredoc bodies behind it.
    pub expression: String,
    /// The inner instruction in typed form; `None` when it does not have one, which only
    /// matters once it is triggered.
    pub trigger: Option<Box<Instruction>>,
}

/// Reads ONBUILD. The inner instruction need not be valid: it is read again when triggered.
///
/// Grammar: dockerfile.ebnf#onbuild
pub(super) fn onbuild(request: &mut Request) -> Result<OnbuildInstruction, Fault> {
    let arguments = std::mem::replace(&mut request.arguments, Arguments::Words(Vec::new()));
    let Arguments::Nested(mut inner) = arguments else {
        return Err(request.no_arguments());
    };
    request.flags(&[])?;
    forbid(&inner)?;
    let heredocs = std::mem::take(&mut request.heredocs);
    let mut expression = after_keyword(&request.header.original).to_owned();
    for file in &heredocs {
        expression.push('\n');
        expression.push_str(&file.data);
        expression.push_str(&file.name);
    }
    inner.heredocs = heredocs;
    inner.header.lines = request.header.lines;
    inner.header.span.end = request.header.span.end;
    let trigger = match typed(*inner) {
        Ok(Typed::Instruction(trigger)) => Some(trigger),
        Ok(Typed::Stage(_)) | Err(_) => None,
    };
    Ok(OnbuildInstruction {
        expression,
        trigger,
    })
}

/// Refuses the three instructions that cannot be triggers.
fn forbid(inner: &Node) -> Result<(), Fault> {
    let keyword = inner.keyword();
    let message = match keyword {
        Some(Keyword::Onbuild) => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        Some(found @ (Keyword::From | Keyword::Maintainer)) => {
            format!("{} isn't allowed as an ONBUILD trigger", found.as_str())
        }
        _ => return Ok(()),
    };
    let span = inner.header.keyword.span;
    Err(Fault::new(Code::InvalidTrigger, message, span))
}

/// Removes the keyword ONBUILD and the blanks around it from a line; a vertical tab stays.
fn after_keyword(line: &str) -> &str {
    let blank = |ch: char| matches!(ch, '\t' | '\n' | '\x0c' | '\r' | ' ');
    let name = Keyword::Onbuild.as_str();
    let trimmed = line.trim_start_matches(blank);
    match trimmed.get(..name.len()) {
        Some(keyword) if keyword.eq_ignore_ascii_case(name) => {
            trimmed[name.len()..].trim_start_matches(blank)
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::after_keyword;

    #[test]
    fn what_is_no_blank_of_a_regular_expression_stays() {
        assert_eq!(after_keyword("onBuild \t RUN a"), "RUN a");
        assert_eq!(after_keyword("ONBUILD\x0bRUN a"), "\x0bRUN a");
    }
}
