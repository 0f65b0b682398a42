//! Reasons in the words of people: one line each, harmless for a terminal.

use super::difference::{Change, Difference};
use super::files::{FileChange, FileChanges, FileFate};
use super::run::Reason;

/// Most files that a line names.
const FILES: usize = 3;
/// Most differences that a line names.
const DIFFERENCES: usize = 2;
/// Longest value that a line shows, and longest name of a step, in characters.
const LONGEST: usize = 60;

/// Returns a reason as one line; `now` is in seconds since 1970.
pub(super) fn line(reason: &Reason, now: u64) -> String {
    match reason {
        Reason::Forced => "to be made again (--no-cache)".to_owned(),
        Reason::New => "never built before".to_owned(),
        Reason::Unfinished => "an earlier build did not finish it".to_owned(),
        Reason::Evicted { at, limit } => evicted(*at, *limit, now),
        Reason::Gone => "its result is gone from the store".to_owned(),
        Reason::Changed {
            then, differences, ..
        } => {
            let mut parts: Vec<String> = differences
                .iter()
                .take(DIFFERENCES)
                .map(|it| difference(it, then))
                .collect();
            if differences.len() > DIFFERENCES {
                let more = differences.len() - DIFFERENCES;
                parts.push(format!("and {more} more {}", plural(more, "difference")));
            }
            parts.join("; ")
        }
    }
}

/// Returns a difference as a part of a line; `then` is the step that is compared with.
pub(super) fn difference(difference: &Difference, then: &str) -> String {
    match difference {
        Difference::Field {
            name,
            then: old,
            now,
        } => match name.as_str() {
            "instruction" | "arguments" => format!("instruction changed, was {}", step(then)),
            name => field(name, old.as_deref(), now.as_deref()),
        },
        Difference::Variable {
            name,
            argument,
            change,
        } => {
            let kind = if *argument { "build-arg" } else { "ENV" };
            format!("{kind} {} {}", shown(name), became(*change))
        }
        Difference::Image { base, then, now } => image(*base, then, now),
        Difference::Source { name } => format!("{} changed", shown(name)),
        Difference::Files {
            from,
            made_again,
            changes,
        } => {
            let from = from.as_deref().map(step);
            let mut text = files(changes.as_ref(), from.as_deref());
            if *made_again {
                text.push_str(" (that step was made again)");
            }
            text
        }
        Difference::Step {
            now,
            made_again: true,
            ..
        } => format!("because {} was made again", step(now)),
        Difference::Step { then, now, .. } if then == now => {
            format!("{} has another result than then", step(now))
        }
        Difference::Step { then, now, .. } => {
            format!("stands on {} now, then on {}", step(now), step(then))
        }
    }
}

fn field(name: &str, then: Option<&str>, now: Option<&str>) -> String {
    let name = shown(name);
    match (then, now) {
        (None, Some(_)) => format!("{name} is new"),
        (Some(_), None) => format!("{name} is gone"),
        (Some(then), Some(now)) if is_showable(then) && is_showable(now) => {
            let word = |text: &str| match text.is_empty() {
                true => "nothing".to_owned(),
                false => shown(text),
            };
            format!("{name} changed from {} to {}", word(then), word(now))
        }
        _ => format!("{name} changed"),
    }
}

/// Whether a value tells people something: short, and no structure of ours.
fn is_showable(text: &str) -> bool {
    let is_plain = !text.starts_with(['{', '[']) && !text.starts_with("sha256:");
    text.chars().count() <= LONGEST && is_plain
}

fn became(change: Change) -> &'static str {
    match change {
        Change::New => "is new",
        Change::Gone => "is gone",
        Change::Other => "changed",
    }
}

fn image(base: bool, then: &[String; 3], now: &[String; 3]) -> String {
    let what = if base { "base" } else { "image" };
    let (old, new) = (short(&then[1]), short(&now[1]));
    if then[0] != now[0] {
        format!(
            "{what} is {} ({new}), was {} ({old})",
            shown(&now[0]),
            shown(&then[0])
        )
    } else if then[2] != now[2] {
        format!(
            "{what} {} is for {}, was for {}",
            shown(&now[0]),
            shown(&now[2]),
            shown(&then[2])
        )
    } else {
        format!("{what} {} moved from {old} to {new}", shown(&now[0]))
    }
}

/// A digest as far as people compare it.
fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

fn files(changes: Option<&FileChanges>, from: Option<&str>) -> String {
    let of = from.map_or_else(String::new, |from| format!(" of {from}"));
    let Some(changes) = changes else {
        return format!("files{of} differ");
    };
    let (count, total) = (changes.count, changes.total);
    let verb = if count == 1 { "differs" } else { "differ" };
    let noun = if total == 1 { "file" } else { "files" };
    let mut named: Vec<String> = changes.named.iter().take(FILES).map(file).collect();
    let more = count.saturating_sub(named.len() as u64);
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    let mut text = format!("{count} of {total} {noun}{of} {verb}: {}", named.join(", "));
    if changes.only_modes {
        text.push_str(" (only modes, as after a checkout with another umask)");
    }
    text
}

/// A file that differs, and in what.
pub(super) fn file(change: &FileChange) -> String {
    let fate: Vec<String> = change.fate.iter().map(fate).collect();
    let path = match change.path.is_empty() {
        true => "/",
        false => change.path.as_str(),
    };
    format!("`{}` {}", cut_front(path), fate.join(" and "))
}

fn fate(fate: &FileFate) -> String {
    match fate {
        FileFate::New => "new".to_owned(),
        FileFate::Gone => "gone".to_owned(),
        FileFate::Type { then, now } => format!("was a {then}, is a {now}"),
        FileFate::Content => "content".to_owned(),
        FileFate::Link => "link text".to_owned(),
        FileFate::Device => "device numbers".to_owned(),
        FileFate::Mode { then, now } => format!("mode {then}→{now}"),
        FileFate::Owner { then, now } => format!("owner {then}→{now}"),
        FileFate::Attributes => "extended attributes".to_owned(),
    }
}

fn evicted(at: u64, limit: Option<u64>, now: u64) -> String {
    let days = now.saturating_sub(at) / 86_400;
    let when = match days {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    };
    match limit {
        Some(limit) => format!("evicted {when} to stay under {}", size(limit)),
        None => format!("removed {when} by a prune"),
    }
}

/// A limit as people write it.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let tenths = bytes / (unit / 10);
            return match tenths % 10 {
                0 => format!("{} {name}", tenths / 10),
                odd => format!("{}.{odd} {name}", tenths / 10),
            };
        }
    }
    format!("{bytes} bytes")
}

fn plural(count: usize, word: &str) -> String {
    format!("{word}{}", if count == 1 { "" } else { "s" })
}

/// The name of a step as part of a line.
fn step(name: &str) -> String {
    shown(name)
}

/// Outside text as part of a line: escaped, and cut.
fn shown(text: &str) -> String {
    let text = escaped(text.as_bytes());
    if text.chars().count() <= LONGEST {
        return text;
    }
    let mut cut: String = text.chars().take(LONGEST - 1).collect();
    cut.push('…');
    cut
}

/// A path cut in front: its end says more.
fn cut_front(path: &str) -> String {
    let length = path.chars().count();
    if length <= LONGEST {
        return path.to_owned();
    }
    let end: String = path.chars().skip(length - LONGEST + 1).collect();
    format!("…{end}")
}

/// Bytes as text in which nothing steers a terminal, nor turns its direction.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if c.is_control() || turns(c) => out.push_str(&c.escape_unicode().to_string()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Characters that change the direction of text, or end lines.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_text_is_escaped_and_cut() {
        assert_eq!(
            escaped(b"a\n\x1b]0;x\x07\xff\tb"),
            "a\\n\\x1b]0;x\\x07\\xff\\tb"
        );
        assert_eq!(escaped("a\u{202e}b\u{85}".as_bytes()), "a\\u{202e}b\\u{85}");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), LONGEST);
        assert!(cut_front(&format!("{}/end", "x".repeat(100))).ends_with("/end"));
    }

    #[test]
    fn evictions_say_when_and_what_for() {
        let day = 86_400;
        for (at, limit, text) in [
            (
                9 * day,
                Some(20_000_000_000),
                "evicted yesterday to stay under 20 GB",
            ),
            (
                10 * day,
                Some(1_500_000),
                "evicted today to stay under 1.5 MB",
            ),
            (7 * day, None, "removed 3 days ago by a prune"),
            // A clock that was set back.
            (20 * day, None, "removed today by a prune"),
        ] {
            assert_eq!(line(&Reason::Evicted { at, limit }, 10 * day + 5), text);
        }
    }

    #[test]
    fn few_files_are_named() {
        let change = |path: &str, fate| FileChange {
            path: path.to_owned(),
            fate: vec![fate],
        };
        let mode = FileFate::Mode {
            then: "644".to_owned(),
            now: "755".to_owned(),
        };
        let changes = FileChanges {
            count: 5,
            total: 413,
            named: vec![
                change("a.txt", FileFate::Content),
                change("run.sh", mode.clone()),
                change("c", FileFate::New),
                change("d", FileFate::Gone),
            ],
            only_modes: false,
        };
        assert_eq!(
            files(Some(&changes), None),
            "5 of 413 files differ: `a.txt` content, `run.sh` mode 644→755, `c` new, and 2 more"
        );
        let modes = FileChanges {
            count: 1,
            total: 1,
            named: vec![change("run.sh", mode)],
            only_modes: true,
        };
        assert!(files(Some(&modes), None).contains("umask"));
    }
}
