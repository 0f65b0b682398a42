//! Lowering a text with images made up on the spot.

use rbuild_dockerfile::parse;
use rbuild_frontend::{
    Diagnostic, ImageAnswer, ImageQuestion, Known, LowerRequest, Lowering, Plan, lower,
};

/// Rounds of questions after which a test gives up.
const ROUNDS: usize = 10;

/// Lowers `text`, answering every question with `answer`.
///
/// Errors of the parser come back as one text each, errors of lowering likewise.
pub fn lower_with(
    text: &str,
    request: &LowerRequest,
    answer: &dyn Fn(&ImageQuestion) -> ImageAnswer,
) -> Result<Plan, Vec<String>> {
    let parsed = parse(text);
    if let Some(error) = parsed.first_error() {
        return Err(vec![error.full_message()]);
    }
    let mut known = Known::new();
    for _ in 0..ROUNDS {
        match lower(&parsed.dockerfile, request, &known) {
            Ok(Lowering::Done(plan)) => return Ok(*plan),
            Ok(Lowering::Need(questions)) => {
                assert!(!questions.is_empty(), "a need must name something");
                for question in questions {
                    let answer = answer(&question.image);
                    known.images.insert(question.image, answer);
                }
            }
            Err(errors) => return Err(errors.iter().map(Diagnostic::to_string).collect()),
        }
    }
    Err(vec!["no end of questions".to_owned()])
}
