//! Tables and lists for people.
//!
//! Owns alignment and width, and replaces characters by which texts from elsewhere (subjects,
//! descriptions) could control the terminal. Knows nothing of what is shown.

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

    /// The text, no wider than the terminal; `empty` when there is no row.
    pub(crate) fn text(&self, empty: &str) -> String {
        self.within(terminal_columns(), empty)
    }

    /// The text within so many columns. Without a bound, as for files and pipes, nothing is cut.
    fn within(&self, columns: Option<usize>, empty: &str) -> String {
        if self.rows.len() == 1 {
            return format!("{empty}\n");
        }
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column: usize| cells(column).map(|cell| cell.chars().count()).max();
        let mut widths: Vec<usize> = (0..count).map(|at| width(at).unwrap_or(0)).collect();
        if let (Some(columns), Some(heading)) = (columns, self.rows.first()) {
            fit(&mut widths, heading, columns);
        }
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{:width$}{GAP}", shortened(cell, *width)));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Between two columns.
const GAP: &str = "  ";
/// What a column keeps when the terminal is narrow: a heading and the beginning of a text.
const NARROWEST: usize = 12;

/// Takes from the widest columns until all fit. Ids stay whole, because people copy them.
fn fit(widths: &mut [usize], heading: &[String], columns: usize) {
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    let mut spare = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
    while spare > 0 {
        let shrinks = widths
            .iter_mut()
            .zip(heading)
            .filter(|(width, name)| **width > NARROWEST && *name != "ID");
        let Some((widest, _)) = shrinks.max_by_key(|(width, _)| **width) else {
            return;
        };
        *widest -= 1;
        spare -= 1;
    }
}

fn shortened(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    let kept = cell.chars().take(width.saturating_sub(1));
    kept.chain(std::iter::once('\u{2026}')).collect()
}

/// Columns of the terminal that standard output is, if it is one.
fn terminal_columns() -> Option<usize> {
    let (columns, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(usize::from(columns.0))
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

    #[test]
    fn a_table_fits_the_terminal_and_ids_stay_whole() {
        let mut table = Table::new(&["#", "ID", "EXPRESSION", "DESCRIPTION"]);
        let id = "0123456789abcdef0123456789abcdef";
        table.row(["1".into(), id.into(), "e".repeat(300), "d".repeat(40)]);
        for columns in [70, 80, 120, 379] {
            for line in table.within(Some(columns), "").lines() {
                assert!(line.chars().count() <= columns, "{columns}: {line}");
            }
            assert!(table.within(Some(columns), "").contains(id), "{columns}");
        }
        let narrow = table.within(Some(10), "");
        assert!(narrow.contains(id), "it overflows rather than cut an id");
        assert!(narrow.contains("eeeeeeeeeee\u{2026}"), "{narrow}");
        for columns in [Some(1_000), None] {
            let whole = table.within(columns, "");
            assert!(whole.contains(&"e".repeat(300)), "{columns:?}");
        }
    }
}
