//! SHELL: what shell forms are wrapped in from here on.

use rbuild_dockerfile::instruction::ShellInstruction;

use super::Outcome;
use super::stage::StageCx;
use crate::go_text::plain_list;

/// The shell of an image that names none.
const DEFAULT: [&str; 2] = ["/bin/sh", "-c"];
/// The same for Windows.
const DEFAULT_WINDOWS: [&str; 3] = ["cmd", "/S", "/C"];

pub(super) fn lower(stage: &mut StageCx<'_, '_>, shell: &ShellInstruction) -> Outcome {
    let words: Vec<String> = shell.shell.iter().map(|word| word.text.clone()).collect();
    stage.state.note(format!("SHELL {}", plain_list(&words)));
    stage.state.run_config().shell = Some(words);
    Ok(())
}

/// Puts the stage's shell in front of a text.
pub(super) fn wrap(stage: &StageCx<'_, '_>, text: String) -> Vec<String> {
    let config = &stage.state.config;
    let mut args: Vec<String> = match &config.config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ if config.os == "windows" => DEFAULT_WINDOWS.map(str::to_owned).to_vec(),
        _ => DEFAULT.map(str::to_owned).to_vec(),
    };
    args.push(text);
    args
}
