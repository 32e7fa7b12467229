//! `wasi:cli`: arguments, environment, exit, and the three standard streams.

// `bindgen!` re-exports the types that stand for resources, which it can only do with public ones.
#![expect(unreachable_pub)]

use super::{
    Host,
    bindings::wasi::cli,
    inputs::Opened,
    pages::{FileData, Full, Pages},
    stop::Stop,
    streams::{Sink, Source},
};
use crate::worker_wire::{FromWorker, LogStream, MAX_LOG};
use adit_wire::{Channel, Message};
use bytes::Bytes;
use cid::Cid;
use std::sync::Arc;
use wasmtime::{Result, component::Resource};

/// A file that is read once, from its beginning; all handles to it share the position.
pub(crate) struct Stdin {
    root: Option<Cid>,
    opened: Option<Opened>,
    offset: u64,
}

impl Stdin {
    pub(crate) fn new(root: Option<Cid>) -> Self {
        Stdin { root, opened: None, offset: 0 }
    }
}

impl Host {
    /// The next bytes of stdin; none at its end.
    pub(crate) fn read_stdin(&mut self, length: u64) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::with_capacity(self.stdin_available(length)? as usize);
        self.read_stdin_to(length, |data| bytes.extend_from_slice(data))?;
        Ok(bytes)
    }

    /// How many bytes of stdin a read of `length` will find.
    pub(crate) fn stdin_available(&mut self, length: u64) -> Result<u64, Stop> {
        let Some(root) = self.stdin.root else { return Ok(0) };
        let opened = match &mut self.stdin.opened {
            Some(opened) => opened,
            none => none.insert(Opened::open(&mut self.blocks, &root)?),
        };
        Ok(opened.available(self.stdin.offset, length))
    }

    /// Hands the next bytes of stdin to `take`, as many as are [available](Host::stdin_available), and says how many.
    pub(crate) fn read_stdin_to(&mut self, length: u64, take: impl FnMut(&[u8])) -> Result<u64, Stop> {
        let length = self.stdin_available(length)?;
        let Some(opened) = &mut self.stdin.opened else { return Ok(0) };
        let count = opened.read_to(&mut self.blocks, self.stdin.offset, length, take)?;
        self.stdin.offset += count;
        Ok(count)
    }
}

/// stdout or stderr: kept for the Outcome, and shown meanwhile if somebody watches.
pub(crate) struct Log {
    pub(crate) data: FileData,
    stream: LogStream,
    watcher: Option<Arc<Channel>>,
    /// What was written and not yet shown.
    unseen: Vec<u8>,
}

/// Lines are shown as they end, and longer pieces at this length.
const SHOWN_AT: usize = 4096;

impl Log {
    pub(crate) fn stdout(watcher: Option<Arc<Channel>>) -> Self {
        Log { data: FileData::default(), stream: LogStream::Stdout, watcher, unseen: Vec::new() }
    }

    pub(crate) fn stderr(watcher: Option<Arc<Channel>>) -> Self {
        Log { stream: LogStream::Stderr, ..Log::stdout(watcher) }
    }

    /// Adds all of `bytes` to what is kept, or nothing.
    pub(crate) fn append(&mut self, pages: &mut Pages, bytes: &[u8]) -> Result<(), Full> {
        let end = self.data.length();
        self.data.write(pages, end, bytes)
    }

    pub(crate) fn show(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if self.watcher.is_some() {
            self.unseen.extend_from_slice(bytes);
            if bytes.contains(&b'\n') || self.unseen.len() >= SHOWN_AT {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Sends what is left.
    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        let Some(watcher) = &self.watcher else { return Ok(()) };
        let mut frame = Vec::new();
        for piece in self.unseen.chunks(MAX_LOG) {
            let bytes = Bytes::copy_from_slice(piece);
            FromWorker::Log { stream: self.stream, bytes }.encode(&mut frame);
            watcher.send(&frame, &[]).map_err(|error| Stop::Host(format!("the enclave is gone: {error}")))?;
        }
        self.unseen.clear();
        Ok(())
    }
}

impl cli::environment::Host for Host {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        self.charge(self.env.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())?;
        Ok(self.env.clone())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        self.charge(self.args.iter().map(|arg| arg.len() as u64).sum())?;
        Ok(self.args.clone())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        self.charge(0)?;
        Ok(Some("/".into()))
    }
}

impl cli::exit::Host for Host {
    fn exit(&mut self, status: Result<(), ()>) -> Result<()> {
        Err(Stop::Exit(status.is_err().into()).into())
    }

    fn exit_with_code(&mut self, code: u8) -> Result<()> {
        Err(Stop::Exit(code).into())
    }
}

impl cli::stdin::Host for Host {
    fn get_stdin(&mut self) -> Result<Resource<Source>> {
        self.charge(0)?;
        self.handle(Source::Stdin)
    }
}

impl cli::stdout::Host for Host {
    fn get_stdout(&mut self) -> Result<Resource<Sink>> {
        self.charge(0)?;
        self.handle(Sink::Stdout)
    }
}

impl cli::stderr::Host for Host {
    fn get_stderr(&mut self) -> Result<Resource<Sink>> {
        self.charge(0)?;
        self.handle(Sink::Stderr)
    }
}

/// There is none, so nobody ever holds one.
#[derive(Debug)]
pub enum Terminal {}

impl cli::terminal_input::Host for Host {}
impl cli::terminal_output::Host for Host {}

impl cli::terminal_input::HostTerminalInput for Host {
    fn drop(&mut self, terminal: Resource<Terminal>) -> Result<()> {
        match self.table.delete(terminal)? {}
    }
}

impl cli::terminal_output::HostTerminalOutput for Host {
    fn drop(&mut self, terminal: Resource<Terminal>) -> Result<()> {
        match self.table.delete(terminal)? {}
    }
}

impl cli::terminal_stdin::Host for Host {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}

impl cli::terminal_stdout::Host for Host {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}

impl cli::terminal_stderr::Host for Host {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}
