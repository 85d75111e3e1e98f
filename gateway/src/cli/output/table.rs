//! Tables and lists for people.
//!
//! Owns alignment, and that texts from elsewhere (subjects, descriptions) cannot write to the
//! terminal. Knows nothing of what is shown.

/// Rows below a heading; columns are as wide as their widest cell.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self {
            rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()],
        }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows
            .push(cells.iter().map(|cell| harmless(cell)).collect());
    }

    /// The text; `empty` when there is no row.
    pub(crate) fn text(&self, empty: &str) -> String {
        if self.rows.len() == 1 {
            return format!("{empty}\n");
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// `name  value` lines, aligned; empty values are left out.
pub(crate) fn list(entries: &[(&str, String)]) -> String {
    let shown = || entries.iter().filter(|(_, value)| !value.is_empty());
    let width = shown()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for (name, value) in shown() {
        out.push_str(&format!("{name:width$}  {}\n", harmless(value)));
    }
    out
}

/// The text with whatever could steer a terminal or reorder the line replaced.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The same for a text of several lines.
pub(crate) fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_harmless() {
        let mut table = Table::new(&["ID", "NAME", "X"]);
        table.row(["1".into(), "bücher".into(), "a".into()]);
        table.row(["22".into(), "e\u{1b}[31m\nx".into(), String::new()]);
        assert_eq!(
            table.text("none"),
            "ID  NAME      X\n1   bücher    a\n22  e\u{fffd}[31m x\n"
        );
        assert_eq!(Table::new(&["ID"]).text("nothing there"), "nothing there\n");
        assert_eq!(
            list(&[("a", "1".into()), ("bbb", "2".into()), ("c", String::new())]),
            "a    1\nbbb  2\n"
        );
    }
}
