//! Tables for people: columns as wide as their widest cell, two blanks apart.

use crate::render::columns;

/// Columns of text; the last may be ragged.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Returns a table with a title for each column.
    pub fn new(titles: &[&str]) -> Self {
        let mut table = Self { rows: Vec::new() };
        table.row(titles.iter().map(|title| (*title).to_owned()).collect());
        table
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Returns the text, every line ended and without blanks at its end.
    pub fn text(&self) -> String {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column| cells(column).map(|cell| columns(cell)).max();
        let widths: Vec<usize> = (0..count)
            .map(|column| width(column).unwrap_or_default())
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width - columns(cell) + 2));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(vec!["日本".into(), "x".into()]);
        assert_eq!(table.text(), "A     LONG\n日本  x\n");
    }
}
