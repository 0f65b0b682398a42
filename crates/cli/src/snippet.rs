//! Excerpts of a Dockerfile around the place of an error.
//!
//! Without colours the layout is BuildKit's, byte for byte, since tools read it. On a terminal the
//! narrower place is marked too.

use std::ops::{Range, RangeInclusive};

use rbuild::Excerpt;

use crate::render::{clean, columns};
use crate::style::{Colour, Look, Role};

const RULE: &str = "--------------------";

/// Returns the excerpt, every line ended; empty if the place is not in the file.
pub fn excerpt(excerpt: &Excerpt, look: Look) -> String {
    let lines: Vec<&str> = excerpt.text.split('\n').collect();
    let Some(marked) = marked(excerpt, lines.len()) else {
        return String::new();
    };
    let place = format!("{}:{}", clean(&excerpt.file), marked.start());
    let mut out = format!(
        "{}\n{}\n",
        look.paint(Role::Title, &place),
        look.paint(Role::Dim, RULE)
    );
    for number in shown(&marked, lines.len()) {
        let line = lines[number - 1];
        out.push_str(&numbered(number, line, marked.contains(&number), look));
        if look.colour == Colour::Ansi
            && let Some(columns) = place_in(excerpt, &lines, number)
        {
            out.push_str(&pointer(line, columns, excerpt.label.as_deref(), look));
        }
    }
    out.push_str(&look.paint(Role::Dim, RULE));
    out.push('\n');
    out
}

/// The lines of the instruction, clipped to the file.
fn marked(excerpt: &Excerpt, count: usize) -> Option<RangeInclusive<usize>> {
    let first = usize::try_from(excerpt.first_line).ok()?;
    let last = usize::try_from(excerpt.last_line)
        .ok()?
        .max(first)
        .min(count);
    (1..=count).contains(&first).then_some(first..=last)
}

/// The lines to show: two around one line, one around several.
fn shown(marked: &RangeInclusive<usize>, count: usize) -> RangeInclusive<usize> {
    let around = if marked.start() == marked.end() { 2 } else { 1 };
    let first = marked.start().saturating_sub(around).max(1);
    first..=(marked.end() + around).min(count)
}

fn numbered(number: usize, line: &str, marked: bool, look: Look) -> String {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if look.colour == Colour::None {
        let marker = if marked { ">>>" } else { "   " };
        return format!(" {number:>3} | {marker} {line}\n");
    }
    let line = visible(line);
    let margin = look.paint(Role::Dim, &format!(" {number:>3} |"));
    if marked {
        format!("{margin} {} {line}\n", look.paint(Role::Bad, ">>>"))
    } else {
        format!("{margin}     {}\n", look.paint(Role::Dim, &line))
    }
}

/// Bytes of line `number` that are within the narrower place.
fn place_in(excerpt: &Excerpt, lines: &[&str], number: usize) -> Option<Range<usize>> {
    let span = excerpt.span.clone()?;
    let start: usize = lines[..number - 1].iter().map(|line| line.len() + 1).sum();
    let line = lines[number - 1];
    let from = span.start.max(start);
    let to = span.end.min(start + line.len());
    // A place that covers whole lines is what the markers say already.
    let place = from.checked_sub(start)?..to.checked_sub(start)?;
    (place.start < place.end && place.len() < line.trim().len()).then_some(place)
}

/// The line below: carets under the place, and what is wrong there.
fn pointer(line: &str, place: Range<usize>, label: Option<&str>, look: Look) -> String {
    let (Some(before), Some(at)) = (line.get(..place.start), line.get(place)) else {
        return String::new();
    };
    let gap = " ".repeat(columns(&visible(before)));
    let carets = "^".repeat(columns(&visible(at)).max(1));
    let text = match label {
        Some(label) => format!("{carets} {}", clean(label)),
        None => carets,
    };
    let margin = look.paint(Role::Dim, "     |");
    format!("{margin}     {gap}{}\n", look.paint(Role::Bad, &text))
}

/// A line as the terminal is to show it: a tab is one column, so that carets stand right.
fn visible(line: &str) -> String {
    clean(line)
}
