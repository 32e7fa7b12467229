//! What is to be sealed, read on a thread that may block: a file or standard input, or what was sealed before.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use adit_seal::file::LEAF;
use tokio::runtime::Handle;

use super::source::Opened;
use crate::exit::{Exit, Failure};

/// Content from its beginning to its end.
pub(super) trait Content: Send {
    /// Fills the buffer; less than full only at the end.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Failure>;
}

/// Content that lies open.
pub(super) struct Plain {
    content: Box<dyn Read + Send>,
    path: PathBuf,
}

impl Plain {
    /// A file; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let content: Box<dyn Read + Send> = if path == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            Box::new(std::fs::File::open(path).map_err(|error| cannot_read(path, &error))?)
        };
        Ok(Self { content, path: path.to_owned() })
    }
}

impl Content for Plain {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut len = 0;
        while len < buffer.len() {
            match self.content.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(cannot_read(&self.path, &error)),
            }
        }
        Ok(len)
    }
}

/// Content that is sealed, and open to us.
pub(super) struct Reopened {
    opened: Opened,
    at: u64,
    runtime: Handle,
}

impl Reopened {
    /// From its beginning. `runtime` is where the node is asked.
    pub(super) fn new(opened: Opened, runtime: Handle) -> Self {
        Self { opened, at: 0, runtime }
    }
}

impl Content for Reopened {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut len = 0;
        while len < buffer.len() && self.at < self.opened.content_len() {
            let next = (self.at / LEAF + 1) * LEAF;
            let next = next.min(self.opened.content_len()).min(self.at + (buffer.len() - len) as u64);
            let piece = self.runtime.block_on(self.opened.read(self.at..next))?;
            buffer[len..len + piece.len()].copy_from_slice(&piece);
            len += piece.len();
            self.at = next;
        }
        Ok(len)
    }
}

/// A file of this machine that cannot be read.
pub(super) fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    let exit = if error.kind() == ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
    Failure::because(exit, format!("cannot read {}", path.display()), error)
}
