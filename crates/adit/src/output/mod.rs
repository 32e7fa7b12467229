//! What commands write: data to stdout, progress and notes to stderr.
//!
//! Everything that comes from somebody else (names, log lines, reasons) goes through [`escape`] before it
//! reaches a terminal or a table.

pub(crate) mod escape;
mod figures;
mod table;

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::exit::OutputError;

pub(crate) use figures::{bytes, count, duration, micros, time};
pub(crate) use table::Table;

/// Where a command writes, and in which form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    quiet: bool,
}

impl Output {
    /// Looks at the process's own stdout and stderr.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Output {
            json,
            quiet,
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Whether the caller wants JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether a person may be looking at stdout.
    pub(crate) fn stdout_is_terminal(&self) -> bool {
        self.stdout_is_terminal
    }

    /// Whether progress bars may be drawn on stderr.
    pub(crate) fn shows_progress(&self) -> bool {
        self.stderr_is_terminal && !self.json && !self.quiet
    }

    /// One line of data. The text must be our own or already escaped.
    pub(crate) fn line(&self, text: impl std::fmt::Display) -> Result<(), OutputError> {
        writeln!(std::io::stdout().lock(), "{text}").map_err(OutputError)
    }

    /// Data as it is; flushed, since it may be one piece of a slow stream.
    pub(crate) fn raw(&self, data: &[u8]) -> Result<(), OutputError> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(data).and_then(|()| stdout.flush()).map_err(OutputError)
    }

    /// A JSON document on lines of its own.
    pub(crate) fn document(&self, value: &impl Serialize) -> Result<(), OutputError> {
        let text = serde_json::to_string_pretty(value).map_err(|error| OutputError(error.into()))?;
        self.line(text)
    }

    /// The JSON document when that is wanted, else whatever `text` writes.
    pub(crate) fn either<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&Self, &T) -> Result<(), OutputError>,
    ) -> Result<(), OutputError> {
        if self.json { self.document(value) } else { text(self, value) }
    }

    /// A remark for the person, on stderr. Failing to make it is nobody's concern.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Bytes of a guest's own stderr, on ours: escaped when that is a terminal.
    pub(crate) fn stderr_of_guest(&self, escaper: &mut escape::Escaper, data: &[u8]) {
        let mut stderr = std::io::stderr().lock();
        let _ = if self.stderr_is_terminal {
            stderr.write_all(escaper.text(data).as_bytes())
        } else {
            stderr.write_all(data)
        };
        let _ = stderr.flush();
    }

    /// The end of a guest's stdout: what an escaped stream still held back.
    pub(crate) fn end_of_stdout(&self, escaper: &mut escape::Escaper) -> Result<(), OutputError> {
        // Nothing is held back where nothing was escaped.
        self.raw(escaper.finish().as_bytes())
    }

    /// The end of a guest's stderr.
    pub(crate) fn end_of_stderr(&self, escaper: &mut escape::Escaper) {
        let _ = std::io::stderr().lock().write_all(escaper.finish().as_bytes());
    }

    /// Bytes of a guest's own stdout, on ours: escaped when that is a terminal.
    pub(crate) fn stdout_of_guest(
        &self,
        escaper: &mut escape::Escaper,
        data: &[u8],
    ) -> Result<(), OutputError> {
        if self.stdout_is_terminal { self.raw(escaper.text(data).as_bytes()) } else { self.raw(data) }
    }
}
