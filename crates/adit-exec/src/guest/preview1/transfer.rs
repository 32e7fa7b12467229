//! Reading and writing, straight between the guest's memory and the block or page that the bytes lie in.

use super::{
    Call,
    descriptors::{APPEND, READ, Thing, WRITE},
    errno::{Answer, Errno, Failure},
    memory::Buffer,
};
use crate::guest::{files::Descriptor, pages::Full, resolve::Place, streams::LONGEST, tree::Refused};
use std::sync::PoisonError;

/// Where bytes come from.
enum Source {
    Stdin,
    File(Descriptor, u64),
}

/// Where bytes go to.
enum Sink {
    Stdout,
    Stderr,
    File(Descriptor, u64),
}

/// Where a position is counted from.
const FROM_START: u32 = 0;
const FROM_HERE: u32 = 1;
const FROM_END: u32 = 2;

impl Call<'_> {
    pub(super) fn fd_read(&mut self, fd: u32, buffers: u32, count: u32, out: u32) -> Answer {
        let open = self.open(fd)?;
        let source = match &open.thing {
            _ if open.rights & READ == 0 => return Err(Errno::Badf.into()),
            Thing::Stdin => Source::Stdin,
            Thing::File { descriptor, offset } => Source::File(descriptor.clone(), *offset),
            _ => return Err(Errno::Badf.into()),
        };
        let read = self.read(&source, buffers, count, out)?;
        if let Source::File(_, offset) = source {
            *self.file(fd)?.1 = offset + read;
        }
        Ok(())
    }

    pub(super) fn fd_pread(&mut self, fd: u32, buffers: u32, count: u32, offset: u64, out: u32) -> Answer {
        let readable = self.open(fd)?.rights & READ != 0;
        let file = self.file(fd)?.0.clone();
        if !readable {
            return Err(Errno::Badf.into());
        }
        self.read(&Source::File(file, offset), buffers, count, out).map(drop)
    }

    /// Fills the buffers in turn, until one is not filled to its end.
    fn read(&mut self, source: &Source, buffers: u32, count: u32, out: u32) -> Answer<u64> {
        self.memory.require(out, 4)?;
        let buffers = self.memory.buffers(buffers, count)?;
        let mut read = 0;
        for buffer in buffers {
            let wanted = u64::from(buffer.length).min(LONGEST - read);
            let got = self.read_one(source, read, Buffer { at: buffer.at, length: wanted as u32 })?;
            read += got;
            if got < u64::from(buffer.length) {
                break;
            }
        }
        self.memory.write_u32(out, read as u32)?;
        Ok(read)
    }

    /// Reads what comes `already` bytes behind the source's position.
    fn read_one(&mut self, source: &Source, already: u64, buffer: Buffer) -> Answer<u64> {
        let length = buffer.length.into();
        let into = self.memory.bytes_mut(buffer.at, buffer.length)?;
        let mut at = 0;
        let take = |data: &[u8]| {
            into[at..at + data.len()].copy_from_slice(data);
            at += data.len();
        };
        let host = &mut *self.host;
        match source {
            Source::Stdin => {
                let found = host.stdin_available(length)?;
                host.meter.pay(found)?;
                Ok(host.read_stdin_to(length, take)?)
            }
            Source::File(file, offset) => {
                let offset = offset.saturating_add(already);
                if let Some(input) = &file.input {
                    let mut input = input.lock().unwrap_or_else(PoisonError::into_inner);
                    host.meter.pay(input.available(offset, length))?;
                    return Ok(input.read_to(&mut host.blocks, offset, length, take)?);
                }
                let Place::Written(node) = file.place else { return Err(Errno::Badf.into()) };
                let (data, pages) = host.tree.file(node)?;
                let found = data.available(offset, length);
                host.meter.pay(found)?;
                data.read_to(pages, offset, length, take);
                Ok(found)
            }
        }
    }

    pub(super) fn fd_write(&mut self, fd: u32, buffers: u32, count: u32, out: u32) -> Answer {
        let open = self.open(fd)?;
        let append = open.flags & APPEND != 0;
        let sink = match &open.thing {
            _ if open.rights & WRITE == 0 => return Err(Errno::Badf.into()),
            Thing::Stdout => Sink::Stdout,
            Thing::Stderr => Sink::Stderr,
            Thing::File { descriptor, offset } => Sink::File(descriptor.clone(), *offset),
            _ => return Err(Errno::Badf.into()),
        };
        let sink = match sink {
            Sink::File(file, _) if append => {
                let end = self.host.stat_of(&file.place)?.size;
                Sink::File(file, end)
            }
            other => other,
        };
        let written = self.write(&sink, buffers, count, out)?;
        if let Sink::File(_, offset) = sink {
            *self.file(fd)?.1 = offset + written;
        }
        Ok(())
    }

    pub(super) fn fd_pwrite(&mut self, fd: u32, buffers: u32, count: u32, offset: u64, out: u32) -> Answer {
        self.file(fd)?;
        let file = self.writable(fd)?;
        self.write(&Sink::File(file, offset), buffers, count, out).map(drop)
    }

    /// Writes the buffers in turn, until there is no room for a whole one.
    fn write(&mut self, sink: &Sink, buffers: u32, count: u32, out: u32) -> Answer<u64> {
        self.memory.require(out, 4)?;
        let buffers = self.memory.buffers(buffers, count)?;
        let total: u64 = buffers.iter().map(|buffer| u64::from(buffer.length)).sum();
        if total > u64::from(u32::MAX) {
            return Err(Errno::Inval.into());
        }
        self.host.meter.pay(total)?;
        let mut written = 0;
        for buffer in buffers {
            match self.write_one(sink, written, buffer) {
                Ok(()) => written += u64::from(buffer.length),
                Err(Failure::Errno(Errno::Nospc)) if written > 0 => break,
                Err(failure) => return Err(failure),
            }
        }
        self.memory.write_u32(out, written as u32)?;
        Ok(written)
    }

    /// Writes `already` bytes behind the sink's position.
    fn write_one(&mut self, sink: &Sink, already: u64, buffer: Buffer) -> Answer {
        let bytes = self.memory.bytes(buffer.at, buffer.length)?;
        let pages = &mut self.host.tree.pages;
        let log = match sink {
            Sink::Stdout => &mut self.host.stdout,
            Sink::Stderr => &mut self.host.stderr,
            Sink::File(file, offset) => {
                let file = file.written_file()?;
                let at = offset.checked_add(already).ok_or(Full).map_err(Refused::from)?;
                let (data, pages) = self.host.tree.file(file)?;
                return Ok(data.write(pages, at, bytes).map_err(Refused::from)?);
            }
        };
        log.append(pages, bytes).map_err(Refused::from)?;
        // In pieces: what is shown is copied.
        for piece in bytes.chunks(LONGEST as usize) {
            log.show(piece)?;
        }
        Ok(())
    }

    pub(super) fn fd_seek(&mut self, fd: u32, offset: i64, whence: u32, out: u32) -> Answer {
        self.memory.require(out, 8)?;
        let (file, here) = self.file(fd)?;
        let here = *here;
        let place = file.place.clone();
        let from = match whence {
            FROM_START => 0,
            FROM_HERE => here,
            FROM_END => self.host.stat_of(&place)?.size,
            _ => return Err(Errno::Inval.into()),
        };
        let to =
            from.checked_add_signed(offset).filter(|to| i64::try_from(*to).is_ok()).ok_or(Errno::Inval)?;
        *self.file(fd)?.1 = to;
        self.memory.write_u64(out, to)
    }

    pub(super) fn fd_tell(&mut self, fd: u32, out: u32) -> Answer {
        let here = *self.file(fd)?.1;
        self.memory.write_u64(out, here)
    }
}
