//! The last lines of a step's output.

use std::collections::VecDeque;
use std::time::Duration;

/// Lines kept.
const LINES: usize = 20;
/// Bytes kept of a line; the rest of a longer one is left out here, not in the log file.
const LINE_BYTES: usize = 4096;

/// The last lines of an output, each with the time at which it began.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<Line>,
    /// Whether the last line has not ended yet.
    open: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it began, since the step began.
    pub at: Duration,
    /// What it says, without the line end.
    pub bytes: Vec<u8>,
}

impl Tail {
    /// Appends output that was read `at` this time since the step began.
    pub fn push(&mut self, data: &[u8], at: Duration) {
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            if !self.open {
                self.begin(at);
            }
            self.extend(text);
            self.open = !ended;
        }
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> {
        self.lines.iter()
    }

    fn begin(&mut self, at: Duration) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Line {
            at,
            bytes: Vec::new(),
        });
    }

    fn extend(&mut self, text: &[u8]) {
        if let Some(line) = self.lines.back_mut() {
            let room = LINE_BYTES.saturating_sub(line.bytes.len());
            line.bytes.extend_from_slice(&text[..text.len().min(room)]);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn texts(tail: &Tail) -> Vec<String> {
        let text = |line: &Line| String::from_utf8(line.bytes.clone()).unwrap();
        tail.lines().map(text).collect()
    }

    #[test]
    fn pieces_join_to_lines() {
        let mut tail = Tail::default();
        for piece in ["a", "b\n", "\nc", "\r\n", "d"] {
            tail.push(piece.as_bytes(), Duration::ZERO);
        }
        assert_eq!(texts(&tail), ["ab", "", "c\r", "d"]);
    }

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Tail::default();
        for n in 0..100 {
            tail.push(format!("{n}\n").as_bytes(), Duration::ZERO);
        }
        assert_eq!(tail.lines().count(), LINES);
        assert_eq!(texts(&tail).last().unwrap(), "99");
        tail.push(&[b'x'; 10_000], Duration::ZERO);
        assert_eq!(tail.lines().next_back().unwrap().bytes.len(), LINE_BYTES);
    }
}
