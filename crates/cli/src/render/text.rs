//! Texts as people read them: times, sizes, and outside text made harmless for a terminal.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Returns `text` with each control character replaced: outside text must not steer a terminal.
pub fn clean(text: &str) -> String {
    let harmless = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.replace(['\n', '\t'], " ")
        .chars()
        .map(harmless)
        .collect()
}

/// Returns what a terminal would show of a line of output: escape sequences left out, a tab as far
/// as the next stop, and after a carriage return only what was written last.
pub fn visible(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let plain = anstream::adapter::strip_str(&text).to_string();
    let last = plain
        .trim_end_matches('\r')
        .rsplit('\r')
        .next()
        .unwrap_or_default();
    let mut shown = String::new();
    for c in last.chars() {
        match c {
            '\t' => shown.push_str(&" ".repeat(8 - shown.width() % 8)),
            c if c.is_control() => {}
            c => shown.push(c),
        }
    }
    shown
}

/// Returns `text` cut to `columns` on the screen, with `mark` at its end if something is missing.
pub fn fit(text: &str, columns: usize, mark: char) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut fitted = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > columns {
            break;
        }
        used += width;
        fitted.push(c);
    }
    if columns > 0 {
        fitted.push(mark);
    }
    fitted
}

/// Columns that `text` takes on the screen.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// Returns a time as steps show it: `0.2s`, `75.1s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// Returns a time as it stands before a line of output: three digits behind the point below ten
/// seconds, two below a hundred, then one.
pub fn stamp(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let digits = match seconds {
        s if s < 10.0 => 3,
        s if s < 100.0 => 2,
        _ => 1,
    };
    format!("{seconds:.digits$}")
}

/// Returns a number of bytes in decimal units: `512B`, `1.05MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count}B");
    }
    // Two digits behind the point: what a float loses beyond 2^53 is not shown.
    #[allow(clippy::cast_precision_loss)]
    let mut value = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 999.995 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.2}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_text_cannot_steer_the_terminal() {
        assert_eq!(clean("RUN a\n\x1b[2Jb"), "RUN a \u{fffd}[2Jb");
        assert_eq!(visible(b"\x1b[31mred\x1b[0m\x07"), "red");
        assert_eq!(visible(b"\x1b]0;title\x07x"), "x");
    }

    #[test]
    fn progress_bars_show_their_last_state() {
        assert_eq!(visible(b" 10%\r 50%\r100%"), "100%");
        assert_eq!(visible(b"done\r"), "done");
        assert_eq!(visible(b"a\tb"), "a       b");
        assert_eq!(visible(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn cuts_by_columns() {
        assert_eq!(fit("abc", 3, '…'), "abc");
        assert_eq!(fit("abcd", 3, '…'), "ab…");
        assert_eq!(fit("日本語", 6, '…'), "日本語");
        assert_eq!(fit("日本語", 5, '…'), "日本…");
        assert_eq!(fit("日本語", 4, '…'), "日…");
        assert_eq!(fit("abc", 0, '…'), "");
    }

    #[test]
    fn sizes_have_decimal_units() {
        let cases = [0, 999, 1000, 1_050_000, 999_999, 3_620_000_000].map(bytes);
        assert_eq!(
            cases,
            ["0B", "999B", "1.00kB", "1.05MB", "1.00MB", "3.62GB"]
        );
    }

    #[test]
    fn stamps_keep_four_digits_or_so() {
        let cases = [0.0123, 12.345, 123.45].map(|s| stamp(Duration::from_secs_f64(s)));
        assert_eq!(cases, ["0.012", "12.35", "123.5"].map(String::from));
    }
}
