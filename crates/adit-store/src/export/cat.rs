//! A file's content as a stream, with blocks read ahead.

use std::collections::VecDeque;

use adit_unixfs::read::{FileReader, FileStep, Visit};
use bytes::Bytes;
use cid::Cid;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use super::ExportError;
use crate::{BlockSource, SourceError};

/// Blocks under way from the source at a time, so that hashing one overlaps with reading others.
const IN_FLIGHT: usize = 4;
/// Blocks that the source is told about, for a network to fetch.
const HINTED: usize = 32;

/// A part of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    pub from: u64,
    /// `None` for everything from `from` on; longer than the file is no error.
    pub len: Option<u64>,
}

impl Range {
    pub const ALL: Self = Self { from: 0, len: None };
}

/// An opened file: its size, and its content to be streamed.
pub struct Cat<'a> {
    /// Of the whole file.
    pub size: u64,
    /// Bytes that the stream will give, unless it fails.
    pub len: u64,
    pub content: BoxStream<'a, Result<Bytes, ExportError>>,
}

/// Opens a file and streams a part of its content. The source is owned, so that the stream can
/// be: an `Arc<dyn BlockStore>`, a network session, or a reference to either.
///
/// # Errors
/// Before the first byte: the root is not a file, cannot be had, or ends before the range begins.
pub async fn cat<'a, S>(source: S, cid: &Cid, range: Range) -> Result<Cat<'a>, ExportError>
where
    S: BlockSource + Clone + 'a,
{
    let root = source.block(cid).await?;
    let reader = FileReader::open(*cid, &root)?;
    let size = reader.size();
    if range.from > size {
        return Err(ExportError::Range { from: range.from, size });
    }
    let end = range.len.map_or(size, |len| size.min(range.from.saturating_add(len)));
    let pipe =
        Pipe { source, reader, at: range.from, end, ahead: VecDeque::from([ready(*cid, root)]), hinted: 0 };
    let content =
        stream::try_unfold(pipe, |mut pipe| async move { Ok(pipe.next().await?.map(|bytes| (bytes, pipe))) });
    Ok(Cat { size, len: end - range.from, content: content.boxed() })
}

fn ready<'a>(cid: Cid, bytes: Bytes) -> (Cid, Fetch<'a>) {
    (cid, Fetch::Done(Ok(bytes)))
}

struct Pipe<'a, S> {
    source: S,
    reader: FileReader,
    at: u64,
    end: u64,
    /// The next blocks in the order they will be needed.
    ahead: VecDeque<(Cid, Fetch<'a>)>,
    /// The file offset up to which the source was given hints.
    hinted: u64,
}

enum Fetch<'a> {
    UnderWay(BoxFuture<'a, Result<Bytes, SourceError>>),
    Done(Result<Bytes, SourceError>),
}

impl<'a, S: BlockSource + Clone + 'a> Pipe<'a, S> {
    async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        while self.at < self.end {
            let FileStep::Need(want) = self.reader.seek(self.at)? else { break };
            let block = self.fetch(want.cid).await?;
            let Visit::Data(data) = self.reader.visit(&want, &block)? else { continue };
            let len = (data.len() as u64).min(self.end - self.at);
            self.at += len;
            return Ok(Some(block.slice_ref(&data[..len as usize])));
        }
        Ok(None)
    }

    /// The block, while the ones after it are on their way too.
    async fn fetch(&mut self, cid: Cid) -> Result<Bytes, SourceError> {
        if self.ahead.front().is_none_or(|(next, _)| *next != cid) {
            // A part of the tree that was not known yet: begin again from here.
            self.ahead.clear();
        }
        let known = self.reader.ahead(self.at, HINTED);
        // Told once per half window, not once per block.
        if self.at >= self.hinted {
            self.source.prefetch(&known);
            self.hinted = self.at + (HINTED as u64 / 2) * (1 << 20);
        }
        for next in known.into_iter().take(IN_FLIGHT).skip(self.ahead.len()) {
            let source = self.source.clone();
            let fetch = Box::pin(async move { source.block(&next).await });
            self.ahead.push_back((next, Fetch::UnderWay(fetch)));
        }
        // Content inside an internal node is not what lies ahead.
        if self.ahead.front().is_none_or(|(next, _)| *next != cid) {
            return self.source.block(&cid).await;
        }
        // All are polled, so that they proceed together; the first one is awaited.
        std::future::poll_fn(|context| {
            for (_, fetch) in &mut self.ahead {
                if let Fetch::UnderWay(future) = fetch
                    && let std::task::Poll::Ready(result) = future.as_mut().poll(context)
                {
                    *fetch = Fetch::Done(result);
                }
            }
            match self.ahead.front() {
                Some((_, Fetch::Done(_))) => std::task::Poll::Ready(()),
                _ => std::task::Poll::Pending,
            }
        })
        .await;
        match self.ahead.pop_front() {
            Some((_, Fetch::Done(result))) => result,
            _ => unreachable!("the first fetch was waited for"),
        }
    }
}
