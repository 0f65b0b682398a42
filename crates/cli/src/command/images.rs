//! `rbuild images`.

use std::path::Path;

use jiff::Timestamp;
use rbuild::ImageSummary;
use rbuild::oci::{Digest, Platform, Reference};
use serde_json::json;

use super::table::Table;
use super::{CommandResult, open, print};
use crate::args::{ImagesArgs, TableFormat};
use crate::render::bytes;

/// Shown where there is nothing.
pub const NONE: &str = "<none>";

/// Lists images, a line for each name.
pub fn run(args: &ImagesArgs, root: Option<&Path>) -> CommandResult {
    let images = open(root)?.images()?;
    let now = Timestamp::now();
    let lines: Vec<Line> = images
        .iter()
        .flat_map(|image| lines(image, args))
        .filter(|line| patterns(args).all(|pattern| line.matches(pattern)))
        .collect();
    if args.quiet {
        let mut ids: Vec<String> = lines.iter().map(|line| line.id(args)).collect();
        ids.dedup();
        return print(&ids.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    match args.format {
        TableFormat::Table => print(&table(&lines, args, now)),
        TableFormat::Json => print(&lines.iter().map(|line| line.json(args)).collect::<String>()),
    }
}

fn patterns(args: &ImagesArgs) -> impl Iterator<Item = &String> {
    args.filters.iter().chain(&args.name)
}

/// One image under one name.
struct Line<'a> {
    image: &'a ImageSummary,
    name: Option<&'a Reference>,
}

fn lines<'a>(image: &'a ImageSummary, args: &ImagesArgs) -> Vec<Line<'a>> {
    if image.names.is_empty() {
        // A filter by name leaves out what has none.
        let shown = patterns(args).next().is_none();
        return shown
            .then_some(Line { image, name: None })
            .into_iter()
            .collect();
    }
    let line = |name| Line {
        image,
        name: Some(name),
    };
    image.names.iter().map(line).collect()
}

impl Line<'_> {
    fn repository(&self) -> String {
        let Some(name) = self.name else {
            return NONE.to_owned();
        };
        let familiar = name.familiar();
        let cut = familiar.rfind('@').or_else(|| tag_start(&familiar));
        cut.map_or(familiar.clone(), |at| familiar[..at].to_owned())
    }

    fn tag(&self) -> String {
        let tag = self.name.and_then(Reference::tag);
        tag.unwrap_or(NONE).to_owned()
    }

    fn id(&self, args: &ImagesArgs) -> String {
        if args.no_trunc {
            self.image.id.to_string()
        } else {
            short(&self.image.id)
        }
    }

    fn platforms(&self) -> String {
        let all: Vec<String> = self
            .image
            .platforms
            .iter()
            .map(Platform::to_string)
            .collect();
        all.join(",")
    }

    fn digest(&self) -> String {
        let digest = self.image.manifest.as_ref();
        digest.map_or_else(|| NONE.to_owned(), ToString::to_string)
    }

    /// Whether a name fits a pattern: all of it, or the part before the tag.
    fn matches(&self, pattern: &str) -> bool {
        let Some(name) = self.name else {
            return false;
        };
        let repository = self.repository();
        [&repository, &name.familiar(), &name.to_string()]
            .into_iter()
            .any(|text| wildcard(pattern, text))
    }

    fn json(&self, args: &ImagesArgs) -> String {
        let record = json!({
            "ID": self.id(args),
            "Repository": self.repository(),
            "Tag": self.tag(),
            "Digest": self.digest(),
            "CreatedAt": self.image.created,
            "Size": self.image.size_bytes,
            "Platform": self.platforms(),
        });
        format!("{record}\n")
    }
}

fn table(lines: &[Line<'_>], args: &ImagesArgs, now: Timestamp) -> String {
    let mut titles = vec!["REPOSITORY", "TAG"];
    titles.extend(args.digests.then_some("DIGEST"));
    titles.extend(["IMAGE ID", "CREATED", "SIZE", "PLATFORM"]);
    let mut table = Table::new(&titles);
    for line in lines {
        let mut row = vec![line.repository(), line.tag()];
        row.extend(args.digests.then(|| line.digest()));
        row.push(line.id(args));
        row.push(ago(line.image.created.as_deref(), now));
        row.push(bytes(line.image.size_bytes));
        row.push(line.platforms());
        table.row(row);
    }
    table.text()
}

/// The twelve digits by which people tell images apart.
pub fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}

/// How long ago a time was, in one unit.
pub fn ago(time: Option<&str>, now: Timestamp) -> String {
    let Some(then) = time.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "N/A".to_owned();
    };
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    let (count, unit) = match seconds {
        s if s < 60 => (s, "second"),
        s if s < 3_600 => (s / 60, "minute"),
        s if s < 86_400 => (s / 3_600, "hour"),
        s if s < 14 * 86_400 => (s / 86_400, "day"),
        s if s < 60 * 86_400 => (s / (7 * 86_400), "week"),
        s if s < 730 * 86_400 => (s / (30 * 86_400), "month"),
        s => (s / (365 * 86_400), "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

fn tag_start(name: &str) -> Option<usize> {
    name.rfind(':').filter(|&at| !name[at..].contains('/'))
}

/// Matches `*` (anything but a slash) and `?` (one character but a slash).
fn wildcard(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), next) => {
            let rest = &pattern[1..];
            wildcard(rest, text)
                || next.is_some_and(|c| c != '/' && wildcard(pattern, &text[c.len_utf8()..]))
        }
        (Some(p), Some(c)) if p == c || (p == '?' && c != '/') => {
            wildcard(&pattern[p.len_utf8()..], &text[c.len_utf8()..])
        }
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stop_at_slashes() {
        for (pattern, text, fits) in [
            ("alp*", "alpine", true),
            ("alp*", "alpine/x", false),
            ("*/x", "alpine/x", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(wildcard(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn ages_have_one_unit() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (then, text) in [
            ("2025-12-31T23:59:59Z", "1 second ago"),
            ("2025-12-31T20:00:00Z", "4 hours ago"),
            ("2025-11-20T00:00:00Z", "6 weeks ago"),
            ("1970-01-01T00:00:00Z", "56 years ago"),
            ("2027-01-01T00:00:00Z", "0 seconds ago"),
            ("never", "N/A"),
        ] {
            assert_eq!(ago(Some(then), now), text);
        }
    }

    #[test]
    fn names_split_at_their_tag() {
        assert_eq!(tag_start("host:5000/x"), None);
        assert_eq!(tag_start("host:5000/x:1"), Some(11));
    }
}
