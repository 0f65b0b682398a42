//! Several sources that COPY or ADD would write to one file, each over the one before.

use rbuild_dockerfile::Word;

use crate::lower::StageCx;
use crate::stage::Command;
use crate::{Code, path};

/// Directories that every image is expected to have; into one that is there all sources go.
const USUAL: [&str; 8] = ["bin", "etc", "home", "opt", "root", "srv", "tmp", "usr"];

/// Warns if at least two sources look like files and the destination like the name of one.
pub(crate) fn check(
    stage: &mut StageCx<'_, '_>,
    command: &Command<'_>,
    (files, dest, word): (&[&str], &str, &Word),
) {
    let look_like_files = files.iter().filter(|file| looks_like_file(file)).count();
    if look_like_files < 2 || path::names_directory(dest) || is_directory_too(dest) {
        return;
    }
    let workdir = stage.state.workdir();
    let target = path::join(&workdir, dest);
    let is_there = format!("{workdir}/").starts_with(&format!("{target}/"));
    let first = target.trim_start_matches('/').split('/').next();
    if is_there || first.is_some_and(|first| USUAL.contains(&first)) {
        return;
    }
    let message =
        format!("Several sources are written to one file '{dest}' unless it is a directory");
    let help = format!("End the destination with a slash: `{dest}/`.");
    stage.warn(
        command,
        (Code::SourcesToOneFile, message),
        (Some(word), &help),
    );
}

/// Whether a destination is written as a directory in ways that copying knows nothing of.
fn is_directory_too(dest: &str) -> bool {
    dest.ends_with("..") || dest.ends_with('\\')
}

/// Whether a source is a file by its name: it has an extension.
fn looks_like_file(source: &str) -> bool {
    let name = path::base_name(source);
    !source.ends_with('/')
        && name
            .rfind('.')
            .is_some_and(|dot| dot > 0 && dot + 1 < name.len())
}
