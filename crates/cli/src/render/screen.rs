//! Puts pictures on a terminal, each over the last, without flicker.
//!
//! A picture goes out as one write, between the marks of a synchronised update (which terminals that
//! do not know them ignore). Lines are overwritten and cleared to their end, never wiped first.

use super::frame::Row;

const SYNC_BEGIN: &str = "\x1b[?2026h";
const SYNC_END: &str = "\x1b[?2026l";
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// What is on the terminal now.
#[derive(Debug, Default)]
pub struct Screen {
    shown: Vec<Row>,
}

impl Screen {
    /// Returns what to write so that `above` stands where the last picture began, for good, and
    /// `live` below it; empty if nothing changed. The terminal has `columns` columns now.
    pub fn show(&mut self, above: &[Row], live: Vec<Row>, columns: usize) -> String {
        if above.is_empty() && live == self.shown {
            return String::new();
        }
        let mut out = format!("{SYNC_BEGIN}{HIDE_CURSOR}{}", self.rewind(columns));
        for row in above.iter().chain(&live) {
            out.push_str(&row.text);
            out.push_str(CLEAR_LINE);
            out.push_str("\r\n");
        }
        out.push_str(CLEAR_BELOW);
        out.push_str(SYNC_END);
        self.shown = live;
        out
    }

    /// Returns what to write when no further picture comes.
    pub fn leave(&self) -> &'static str {
        SHOW_CURSOR
    }

    /// Moves to where the last picture began. A terminal that became narrower has broken its lines.
    fn rewind(&self, columns: usize) -> String {
        let height = |row: &Row| row.columns.max(1).div_ceil(columns.max(1));
        match self.shown.iter().map(height).sum::<usize>() {
            0 => String::new(),
            lines => format!("\r\x1b[{lines}A"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[&str]) -> Vec<Row> {
        let row = |text: &&str| Row {
            text: (*text).to_owned(),
            columns: text.len(),
        };
        texts.iter().map(row).collect()
    }

    #[test]
    fn equal_pictures_are_drawn_once() {
        let mut screen = Screen::default();
        let first = screen.show(&[], rows(&["a", "b"]), 80);
        assert!(first.contains("a\x1b[K\r\nb\x1b[K\r\n"));
        assert!(!first.contains("A"));
        assert_eq!(screen.show(&[], rows(&["a", "b"]), 80), "");
        assert!(screen.show(&[], rows(&["a"]), 80).contains("\x1b[2A"));
    }

    #[test]
    fn broken_lines_are_counted() {
        let mut screen = Screen::default();
        screen.show(&[], rows(&["0123456789", "ab"]), 80);
        assert!(screen.show(&[], rows(&["x"]), 4).contains("\x1b[4A"));
    }
}
