//! Tables whose cells cannot do anything to the terminal.

use super::escape::one_line;
use super::{Output, OutputError};

/// Rows under headings; without rows, nothing is printed but a remark on stderr.
pub(crate) struct Table {
    table: comfy_table::Table,
    empty: &'static str,
}

impl Table {
    /// A table with these headings; `empty` is what to say when it has no rows.
    pub(crate) fn new<const N: usize>(headings: [&str; N], empty: &'static str) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(headings.map(|heading| heading.to_uppercase()));
        Table { table, empty }
    }

    /// Adds a row. Cells are escaped here, whoever they come from.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells.map(|cell| one_line(&cell)));
    }

    /// Prints it.
    pub(crate) fn print(self, out: &Output) -> Result<(), OutputError> {
        if self.table.is_empty() {
            out.note(self.empty);
            return Ok(());
        }
        for line in self.table.lines() {
            // Cells have a blank on each side; a table without borders needs none at its edges.
            out.line(line.strip_prefix(' ').unwrap_or(&line).trim_end())?;
        }
        Ok(())
    }
}
