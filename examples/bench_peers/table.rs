//! A table as text for a terminal, or as Markdown. The first column stands left, the others right.

/// Header and rows, all of the same length.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a header.
    pub fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|cell| cell.to_string()).collect()] }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Columns in line, two spaces apart.
    pub fn text(&self) -> String {
        let lines = self.padded().into_iter().map(|row| row.join("  ").trim_end().to_string() + "\n");
        lines.collect()
    }

    /// As CommonMark's common extension has it.
    pub fn markdown(&self) -> String {
        let mut rows = self.padded();
        let rule = |(column, cell): (usize, &String)| {
            let dashes = "-".repeat(cell.chars().count().saturating_sub(1));
            if column == 0 { format!("{dashes}-") } else { format!("{dashes}:") }
        };
        let rule = rows.first().map(|header| header.iter().enumerate().map(rule).collect());
        rows.splice(1..1, rule);
        rows.into_iter().map(|row| format!("| {} |\n", row.join(" | "))).collect()
    }

    fn padded(&self) -> Vec<Vec<String>> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let pad = |(column, cell): (usize, &String)| match (column, width(column).unwrap_or(0)) {
            (0, width) => format!("{cell:<width$}"),
            (_, width) => format!("{cell:>width$}"),
        };
        self.rows.iter().map(|row| row.iter().enumerate().map(pad).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text_and_as_markdown() {
        let mut table = Table::new(&["tool", "×"]);
        table.push(vec!["a".into(), "10".into()]);
        assert_eq!(table.text(), "tool   ×\na     10\n");
        assert_eq!(table.markdown(), "| tool |  × |\n| ---- | -: |\n| a    | 10 |\n");
    }
}
