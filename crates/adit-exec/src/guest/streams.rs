//! `wasi:io`: streams over files and stdio. None ever waits for anything but a block, so none is ever not ready.

// `bindgen!` re-exports the types that stand for resources, which it can only do with public ones.
#![expect(unreachable_pub)]

use super::{
    Host,
    bindings::wasi::io::{error, streams},
    inputs::Opened,
    stop::Stop,
    time::{On, Pollable},
    tree::{NodeId, Refused},
};
use crate::fault::LimitKind;
use adit_wire::http::Trouble;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{
    Result,
    component::{Resource, ResourceTableError},
};

/// Most bytes that one call reads or writes. Longer ones are cut, which POSIX allows.
pub(crate) const LONGEST: u64 = 1 << 20;

/// Where a guest reads from.
pub enum Source {
    Stdin,
    Input {
        file: Arc<Mutex<Opened>>,
        offset: u64,
    },
    Written {
        file: NodeId,
        offset: u64,
    },
    /// A body that comes by HTTP; its number.
    Http(u32),
}

/// Where a guest writes to.
pub enum Sink {
    Stdout,
    Stderr,
    /// `None` appends.
    Written {
        file: NodeId,
        offset: Option<u64>,
    },
    /// A body that goes by HTTP; its number.
    Http(u32),
}

/// What `last-operation-failed` is about.
#[derive(Debug, Clone, Copy)]
pub enum Failure {
    OutputFull,
    BadFile,
    Http(Trouble),
}

/// How a stream's call fails.
pub enum StreamError {
    Closed,
    Failed(Failure),
    Stop(wasmtime::Error),
}

impl From<Stop> for StreamError {
    fn from(stop: Stop) -> Self {
        StreamError::Stop(stop.into())
    }
}

impl From<ResourceTableError> for StreamError {
    fn from(error: ResourceTableError) -> Self {
        StreamError::Stop(error.into())
    }
}

impl From<Refused> for StreamError {
    fn from(refused: Refused) -> Self {
        StreamError::Failed(match refused {
            Refused::Full => Failure::OutputFull,
            _ => Failure::BadFile,
        })
    }
}

type StreamResult<T> = std::result::Result<T, StreamError>;

impl Host {
    /// Hands something over to the guest. A guest that hoards handles is stopped.
    pub(crate) fn handle<T: Send + 'static>(&mut self, thing: T) -> Result<Resource<T>> {
        self.table.push(thing).map_err(|error| match error {
            ResourceTableError::Full => Stop::limit(LimitKind::Resources, "too many open handles").into(),
            other => other.into(),
        })
    }

    fn write_log(&mut self, sink: &Sink, bytes: &[u8]) -> StreamResult<()> {
        if let Some(function) = &mut self.function {
            function.note(bytes);
            return Ok(());
        }
        let log = if matches!(sink, Sink::Stdout) { &mut self.stdout } else { &mut self.stderr };
        log.append(&mut self.tree.pages, bytes).map_err(Refused::from)?;
        Ok(log.show(bytes)?)
    }

    fn write_stream(&mut self, stream: &Resource<Sink>, bytes: &[u8]) -> StreamResult<()> {
        self.charge(bytes.len() as u64)?;
        match self.table.get_mut(stream)? {
            Sink::Written { file, offset } => {
                let (data, pages) = self.tree.file(*file)?;
                let at = offset.unwrap_or(data.length());
                data.write(pages, at, bytes).map_err(Refused::from)?;
                if let Some(offset) = offset {
                    *offset += bytes.len() as u64;
                }
                Ok(())
            }
            Sink::Http(body) => {
                let body = *body;
                Ok(self.write_body(body, bytes)?)
            }
            Sink::Stdout => self.write_log(&Sink::Stdout, bytes),
            Sink::Stderr => self.write_log(&Sink::Stderr, bytes),
        }
    }

    /// Reads, and waits for a body's next piece if it must.
    fn read_waiting(&mut self, stream: &Resource<Source>, length: u64) -> StreamResult<Vec<u8>> {
        if let Source::Http(body) = *self.table.get(stream)? {
            self.wait_for_any(&[Pollable::of(On::Body(body))]).map_err(StreamError::Stop)?;
        }
        self.read_stream(stream, length)
    }

    fn read_stream(&mut self, stream: &Resource<Source>, length: u64) -> StreamResult<Vec<u8>> {
        let length = length.min(LONGEST);
        if let Source::Http(body) = *self.table.get(stream)? {
            return self.read_body(body, length);
        }
        self.charge(length)?;
        let bytes = match self.table.get_mut(stream)? {
            Source::Input { file, offset } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let bytes = file.read(&mut self.blocks, *offset, length)?;
                *offset += bytes.len() as u64;
                bytes
            }
            Source::Written { file, offset } => {
                let (data, pages) = self.tree.file(*file)?;
                let bytes = data.read(pages, *offset, length);
                *offset += bytes.len() as u64;
                bytes
            }
            Source::Stdin => self.read_stdin(length)?,
            // Answered above.
            Source::Http(_) => Vec::new(),
        };
        if bytes.is_empty() && length > 0 { Err(StreamError::Closed) } else { Ok(bytes) }
    }
}

impl error::Host for Host {}

impl error::HostError for Host {
    fn to_debug_string(&mut self, failure: Resource<Failure>) -> Result<String> {
        self.charge(0)?;
        Ok(match self.table.get(&failure)? {
            Failure::OutputFull => "the task's output limit is reached".into(),
            Failure::BadFile => "not a file that can be written".into(),
            Failure::Http(trouble) => format!("the body broke off: {trouble:?}"),
        })
    }

    fn drop(&mut self, failure: Resource<Failure>) -> Result<()> {
        self.table.delete(failure)?;
        Ok(())
    }
}

impl streams::Host for Host {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        match error {
            StreamError::Closed => Ok(streams::StreamError::Closed),
            StreamError::Failed(failure) => {
                Ok(streams::StreamError::LastOperationFailed(self.handle(failure)?))
            }
            StreamError::Stop(error) => Err(error),
        }
    }
}

impl streams::HostInputStream for Host {
    fn read(&mut self, stream: Resource<Source>, length: u64) -> StreamResult<Vec<u8>> {
        self.read_stream(&stream, length)
    }

    fn blocking_read(&mut self, stream: Resource<Source>, length: u64) -> StreamResult<Vec<u8>> {
        self.read_waiting(&stream, length)
    }

    fn skip(&mut self, stream: Resource<Source>, length: u64) -> StreamResult<u64> {
        Ok(self.read_stream(&stream, length)?.len() as u64)
    }

    fn blocking_skip(&mut self, stream: Resource<Source>, length: u64) -> StreamResult<u64> {
        Ok(self.read_waiting(&stream, length)?.len() as u64)
    }

    fn subscribe(&mut self, stream: Resource<Source>) -> Result<Resource<Pollable>> {
        self.charge(0)?;
        let pollable = match *self.table.get(&stream)? {
            Source::Http(body) => Pollable::of(On::Body(body)),
            _ => Pollable::READY,
        };
        self.handle(pollable)
    }

    fn drop(&mut self, stream: Resource<Source>) -> Result<()> {
        if let Source::Written { file, .. } = self.table.delete(stream)? {
            self.tree.release(file);
        }
        Ok(())
    }
}

impl streams::HostOutputStream for Host {
    fn check_write(&mut self, stream: Resource<Sink>) -> StreamResult<u64> {
        self.charge(0)?;
        self.table.get(&stream)?;
        Ok(LONGEST)
    }

    fn write(&mut self, stream: Resource<Sink>, bytes: Vec<u8>) -> StreamResult<()> {
        self.write_stream(&stream, &bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<Sink>, bytes: Vec<u8>) -> StreamResult<()> {
        self.write_stream(&stream, &bytes)
    }

    fn flush(&mut self, _: Resource<Sink>) -> StreamResult<()> {
        Ok(self.charge(0)?)
    }

    fn blocking_flush(&mut self, _: Resource<Sink>) -> StreamResult<()> {
        Ok(self.charge(0)?)
    }

    fn subscribe(&mut self, _: Resource<Sink>) -> Result<Resource<Pollable>> {
        self.charge(0)?;
        self.handle(Pollable::READY)
    }

    fn write_zeroes(&mut self, stream: Resource<Sink>, length: u64) -> StreamResult<()> {
        // `check_write` promised no more, so more is a broken promise of the guest's.
        if length > LONGEST {
            let detail = "more written to a stream than it was ready for";
            return Err(Stop::limit(LimitKind::Resources, detail).into());
        }
        self.write_stream(&stream, &vec![0; length as usize])
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<Sink>, length: u64) -> StreamResult<()> {
        self.write_zeroes(stream, length)
    }

    fn splice(&mut self, to: Resource<Sink>, from: Resource<Source>, length: u64) -> StreamResult<u64> {
        let bytes = self.read_stream(&from, length)?;
        self.write_stream(&to, &bytes)?;
        Ok(bytes.len() as u64)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<Sink>,
        from: Resource<Source>,
        length: u64,
    ) -> StreamResult<u64> {
        let bytes = self.read_waiting(&from, length)?;
        self.write_stream(&to, &bytes)?;
        Ok(bytes.len() as u64)
    }

    fn drop(&mut self, stream: Resource<Sink>) -> Result<()> {
        if let Sink::Written { file, .. } = self.table.delete(stream)? {
            self.tree.release(file);
        }
        Ok(())
    }
}
