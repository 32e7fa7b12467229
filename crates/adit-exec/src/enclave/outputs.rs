//! What came out of a job, as blocks: `/out` as a UnixFS directory, stdout and stderr as files.
//!
//! The worker's output file stays writable for the worker, so nothing is hashed where it lies: each piece is copied
//! first, and what was copied is what is named, stored and sent. Small blocks wait to travel with the last message;
//! the others go to the node in sealed memory files while the rest is still being made, so that the memory which a
//! large output takes here is bounded.

use super::{job::Job, link::Stop, pool::Worker, serve::Ran};
use crate::worker_wire::{Content, MAX_PATH, OutputKind, OutputNode, PAGE};
use adit_unixfs::{
    Block, Profile,
    build::{Built, DirectoryBuilder, FileBuilder, symlink},
    data::Metadata,
};
use adit_wire::{
    memory::{self, Growing},
    session::{FromEnclave, MAX_BATCH, MAX_INLINE, OutputBlock, Start},
};
use bytes::{Bytes, BytesMut};
use cid::Cid;
use std::{
    collections::{BTreeMap, HashSet},
    os::fd::AsFd,
};

/// How results are cut into blocks, always.
const PROFILE: Profile = Profile::UnixfsV1_2025;

/// A memory file of results is sent when it has grown to this.
const SHIPMENT: u64 = 64 << 20;

/// A job's results on their way to the node.
#[derive(Default)]
pub(super) struct Results {
    /// Wait for the last message.
    small: Vec<(Cid, Bytes)>,
    small_bytes: usize,
    /// Wait for the next shipment.
    large: Vec<OutputBlock>,
    file: Option<Growing>,
    shipped: bool,
    seen: HashSet<Cid>,
    /// Bytes of content.
    pub(super) content: u64,
}

impl Results {
    /// The roots of stdout and stderr.
    pub(super) fn streams(
        &mut self,
        job: &mut Job<'_>,
        ran: &Ran,
        worker: &Worker,
    ) -> Result<(Cid, Cid), Stop> {
        let stdout = self.file(job, &ran.done.stdout, worker)?;
        let stderr = self.file(job, &ran.done.stderr, worker)?;
        Ok((stdout.cid, stderr.cid))
    }

    /// The root of `/out`.
    pub(super) fn tree(&mut self, job: &mut Job<'_>, ran: &Ran, worker: &Worker) -> Result<Cid, Stop> {
        // By depth, then path: finished from the end, so that each comes before the one it is in.
        let mut directories = BTreeMap::new();
        directories.insert((0, ""), DirectoryBuilder::new(PROFILE, Metadata::NONE));
        for OutputNode { path, kind } in &ran.nodes {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if path.len() > MAX_PATH || !directories.contains_key(&(depth(parent), parent)) {
                return Err(Stop::distrust("an output node that is in no directory"));
            }
            let built = match kind {
                OutputKind::Directory => {
                    let directory = DirectoryBuilder::new(PROFILE, Metadata::NONE);
                    if directories.insert((depth(path), path), directory).is_some() {
                        return Err(Stop::distrust("an output directory twice"));
                    }
                    continue;
                }
                OutputKind::File(content) => self.file(job, content, worker)?,
                OutputKind::Symlink(target) => {
                    let (block, built) = symlink(PROFILE, target, Metadata::NONE);
                    self.keep(job, block)?;
                    built
                }
            };
            let directory = directories.get_mut(&(depth(parent), parent));
            directory.map_or(Ok(()), |directory| directory.add(name, &built)).map_err(Stop::distrust)?;
        }
        loop {
            let Some(((_, path), directory)) = directories.pop_last() else {
                return Err(Stop::distrust("no output directory"));
            };
            let mut blocks = Vec::new();
            let built = directory.finish(&mut blocks).map_err(Stop::distrust)?;
            self.keep_all(job, &mut blocks)?;
            if path.is_empty() {
                return Ok(built.cid);
            }
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if let Some(parent) = directories.get_mut(&(depth(parent), parent)) {
                parent.add(name, &built).map_err(Stop::distrust)?;
            }
        }
    }

    /// Sends what has not been sent; returns the blocks for the last message, and whether these were all.
    pub(super) fn deliver(mut self, job: &mut Job<'_>) -> Result<(Vec<(Cid, Bytes)>, bool), Stop> {
        self.ship(job)?;
        Ok((self.small, !self.shipped))
    }

    fn file(&mut self, job: &mut Job<'_>, content: &Content, worker: &Worker) -> Result<Built, Stop> {
        self.content = self.content.saturating_add(content.length());
        if self.content > job.task.limits.output {
            return Err(Stop::distrust("more output than the task allows"));
        }
        let mut builder = FileBuilder::new(PROFILE, Metadata::NONE);
        let mut blocks = Vec::new();
        match content {
            Content::Inline(bytes) => builder.push(bytes.clone(), &mut blocks),
            Content::Pages { length, runs } => {
                let mut pages =
                    PageReader { worker, runs: runs.iter(), offset: 0, left_in_run: 0, left: *length };
                while let Some(piece) = pages.next(PROFILE.chunk_size())? {
                    builder.push(piece, &mut blocks);
                    self.keep_all(job, &mut blocks)?;
                }
            }
        }
        let built = builder.finish(&mut blocks);
        self.keep_all(job, &mut blocks)?;
        Ok(built)
    }

    fn keep_all(&mut self, job: &mut Job<'_>, blocks: &mut Vec<Block>) -> Result<(), Stop> {
        blocks.drain(..).try_for_each(|block| self.keep(job, block))
    }

    fn keep(&mut self, job: &mut Job<'_>, block: Block) -> Result<(), Stop> {
        if !self.seen.insert(block.cid) {
            return Ok(());
        }
        let bytes = self.small_bytes + Start::pushed_size(&block.data);
        if block.data.len() <= MAX_INLINE && Job::fits_inline(bytes) && self.small.len() < MAX_BATCH {
            self.small_bytes = bytes;
            self.small.push((block.cid, block.data));
            return Ok(());
        }
        let failed = |error| Stop::host("keeping the output", error);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Growing::new(c"results").map_err(failed)?),
        };
        let offset = file.length();
        file.append(&block.data).map_err(failed)?;
        let full = file.length() >= SHIPMENT;
        self.large.push(OutputBlock { cid: block.cid, offset, length: block.data.len() as u32 });
        if full || self.large.len() >= MAX_BATCH { self.ship(job) } else { Ok(()) }
    }

    fn ship(&mut self, job: &mut Job<'_>) -> Result<(), Stop> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let file = file.seal().map_err(|error| Stop::host("sealing the output", error))?;
        let blocks = std::mem::take(&mut self.large);
        self.shipped = true;
        job.link.send(&FromEnclave::Output(blocks), &[file.as_fd()], job.deadline)
    }
}

fn depth(path: &str) -> usize {
    if path.is_empty() { 0 } else { 1 + path.matches('/').count() }
}

/// Where the bytes of a node are, if it has any.
pub(super) fn content_of(node: &OutputNode) -> Option<&Content> {
    match &node.kind {
        OutputKind::File(content) => Some(content),
        OutputKind::Directory | OutputKind::Symlink(_) => None,
    }
}

/// Copies the content of one file out of the pages that it lies in.
struct PageReader<'a> {
    worker: &'a Worker,
    runs: std::slice::Iter<'a, crate::worker_wire::Run>,
    offset: u64,
    left_in_run: u64,
    left: u64,
}

impl PageReader<'_> {
    /// The next piece: `size` bytes, or what is left.
    fn next(&mut self, size: usize) -> Result<Option<Bytes>, Stop> {
        if self.left == 0 {
            return match self.runs.next() {
                None => Ok(None),
                Some(_) => Err(Stop::distrust("more pages than its output needs")),
            };
        }
        let size = self.left.min(size as u64) as usize;
        let mut piece = BytesMut::zeroed(size);
        let mut filled = 0;
        while filled < size {
            if self.left_in_run == 0 {
                let run =
                    self.runs.next().ok_or_else(|| Stop::distrust("fewer pages than its output needs"))?;
                let (first, count) = (u64::from(run.first), u64::from(run.count));
                if count == 0 || (first + count) * PAGE > self.worker.output_size {
                    return Err(Stop::distrust("pages outside of the output file"));
                }
                (self.offset, self.left_in_run) = (first * PAGE, count * PAGE);
            }
            let now = self.left_in_run.min((size - filled) as u64) as usize;
            memory::read_at(self.worker.output.as_fd(), &mut piece[filled..filled + now], self.offset)
                .map_err(|error| Stop::host("reading the output", error))?;
            filled += now;
            self.offset += now as u64;
            self.left_in_run -= now as u64;
        }
        self.left -= size as u64;
        Ok(Some(piece.freeze()))
    }
}
