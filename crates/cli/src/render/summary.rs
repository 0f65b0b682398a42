//! What is said once the build is over: the output of failed steps, and the warnings.

use super::display::Mode;
use super::text::{clean, stamp, visible};
use super::trace::{StepState, Trace};
use crate::style::{Colour, Look, Role};

/// Returns, for each failed step, its name and the last lines of its output: unchanged below plain
/// lines in a file, else without what could steer a terminal.
pub fn failed_steps(trace: &Trace, mode: Mode, look: Look) -> Vec<u8> {
    let mut out = Vec::new();
    for (_, step) in trace.begun() {
        if !matches!(step.state, StepState::Failed(_)) {
            continue;
        }
        out.extend(b"------\n");
        out.extend(
            look.paint(Role::Bad, &format!(" > {}:", step.name))
                .as_bytes(),
        );
        out.push(b'\n');
        for line in step.tail.lines() {
            let at = look.paint(Role::Dim, &stamp(line.at));
            out.extend(format!("{at} ").as_bytes());
            match (mode, look.colour) {
                (Mode::Plain, Colour::None) => out.extend(&line.bytes),
                _ => out.extend(visible(&line.bytes).as_bytes()),
            }
            out.push(b'\n');
        }
        out.extend(b"------\n");
    }
    out
}

/// Returns the list of warnings; empty if there are none.
pub fn warnings(trace: &Trace, look: Look) -> String {
    let notes = trace.warnings();
    let title = match notes.len() {
        0 => return String::new(),
        1 => "1 warning found:".to_owned(),
        many => format!("{many} warnings found:"),
    };
    let mut out = format!("\n {}\n", look.paint(Role::Warning, &title));
    for note in notes {
        out.push_str(&format!(" - {}", clean(&note.short)));
        if let Some(line) = note.line {
            out.push_str(&format!(" (line {line})"));
        }
        out.push('\n');
        if let Some(url) = &note.url {
            let text = format!("   {}", clean(url));
            if look.colour == Colour::Ansi {
                out.push_str(&look.paint(Role::Dim, &text));
                out.push('\n');
            }
        }
    }
    out
}
