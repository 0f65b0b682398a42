//! Sources of COPY and ADD that the ignore file keeps out of the build context.

use rbuild_dockerfile::Word;

use crate::Code;
use crate::lower::StageCx;
use crate::path;
use crate::remote::Remote;
use crate::stage::Command;

/// Warns of each source that is left out.
///
/// A file with exceptions is not asked: what they bring back depends on what there is.
pub(crate) fn check(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    (verb, sources, words): (&str, &[String], &[Word]),
) {
    let Some(ignored) = &stage.round.request.ignored else {
        return;
    };
    if ignored.has_exceptions() {
        return;
    }
    let in_context = |source: &String| Remote::parse(source).is_none();
    let sources = sources.iter().zip(words);
    for (source, word) in sources.filter(|(source, _)| in_context(source)) {
        let source = match path::clean(source) {
            dot if dot.is_empty() => ".".to_owned(),
            source => source,
        };
        if !ignored.verdict(&source).is_excluded() {
            continue;
        }
        let message =
            format!("Attempting to {verb} file \"{source}\" that is excluded by .dockerignore");
        let help = "Take it out of the ignore file, or add an exception: `!PATH`.";
        stage.warn(
            command,
            (Code::CopyIgnoredFile, message),
            (Some(word), help),
        );
    }
}
