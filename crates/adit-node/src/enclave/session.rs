//! One job on one session: feed it blocks, take its logs and results.
//!
//! The conversation is `adit_wire::session`'s. What happens here on the node's side: wants are
//! answered with descriptors of the store's own files, so that no block is copied; what the store
//! lacks is fetched from the network, within a time limit; results are put into the store before
//! the receipt is released.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use adit_store::{BlockSource, BlockStore, Location, SourceError, StoreError};
use adit_unixfs::Block;
use adit_wire::codec::Message as _;
use adit_wire::session::{
    CancelReason, Delivered, Delivery, Failure as WireFailure, Fault as WireFault, Finished, FromEnclave,
    MAX_INLINE, OutputBlock, Start, Stream, ToEnclave, Wanted,
};
use adit_wire::{AsyncChannel, Channel, Inbox, MAX_DESCRIPTORS, MAX_FRAME};
use bytes::Bytes;
use cid::Cid;
use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::view::{Failure, Fault, LogStream};

/// Wants that one job may have open: what the worker's read-ahead may ask for, with room to spare.
const MAX_OPEN_WANTS: usize = 4096;
/// Bytes of blocks that travel inside one frame beside their headers.
const INLINE_PER_FRAME: usize = MAX_FRAME - (24 << 10);
/// How long the enclave may take to confirm a cancellation before the session is given up.
const CANCEL_PATIENCE: Duration = Duration::from_secs(3);
/// How far past its deadline a job may be before the node stops waiting for the enclave to end it.
const DEADLINE_GRACE: Duration = Duration::from_secs(5);

/// An open job slot of the enclave.
pub(crate) struct Session {
    channel: AsyncChannel,
    inbox: Inbox,
    frame: Vec<u8>,
    next_job: u32,
    /// Which start of the enclave it belongs to.
    pub(super) generation: u64,
    /// What it is for.
    pub(super) purpose: Purpose,
}

/// Sessions for jobs and for functions are counted apart: neither can take the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Jobs,
    Functions,
}

/// A job that the enclave has begun.
pub(crate) struct Started {
    job: u32,
    deadline: tokio::time::Instant,
}

/// What the enclave is given to run.
pub(crate) struct Order {
    /// Canonical bytes of the Task.
    pub(crate) task: Bytes,
    /// The signed Invocation's block.
    pub(crate) invocation: Bytes,
    /// Wall time until the guest is killed.
    pub(crate) wall: Duration,
    /// Not from memory.
    pub(crate) fresh: bool,
    /// Send logs at once.
    pub(crate) live_logs: bool,
    /// Small blocks that it will want.
    pub(crate) push: Vec<(Cid, Bytes)>,
}

/// Where a job's blocks come from and go to, and who hears what it writes.
pub(crate) struct Surroundings<'a> {
    /// The node's store.
    pub(crate) store: &'a dyn BlockStore,
    /// Who is asked for what the store lacks; `None`: nobody.
    pub(crate) fetch: Option<&'a dyn BlockSource>,
    /// How long one missing block may take.
    pub(crate) fetch_timeout: Duration,
    /// Hears what the guest writes.
    pub(crate) log: &'a (dyn Fn(LogStream, Bytes) + Send + Sync),
    /// Ends the job.
    pub(crate) cancel: &'a CancellationToken,
}

/// A job that came to an outcome.
pub(crate) struct Ended {
    /// Outcome, figures and small blocks.
    pub(crate) finished: Finished,
    /// The Envelope.
    pub(crate) envelope: Bytes,
}

/// How a job on a session ended, and whether the session can be used again.
pub(crate) enum JobEnd {
    /// With a last word: the session is free.
    Ended(Result<Box<Ended>, Failure>),
    /// The session is broken; the failure is the job's.
    Broken(Failure),
}

struct Outgoing {
    frame: Vec<u8>,
    files: Vec<Arc<dyn AsFd + Send + Sync>>,
}

type Fetched = (u64, Cid, Result<Bytes, SourceError>);

impl Session {
    pub(super) fn new(channel: AsyncChannel, generation: u64, purpose: Purpose) -> Self {
        Session { channel, inbox: Inbox::new(), frame: Vec::new(), next_job: 0, generation, purpose }
    }

    /// Has a worker serve this program's HTTP requests, until the session is dropped. Gives the channel to it.
    pub(crate) async fn serve(
        &mut self,
        code: Cid,
        patience: Duration,
        around: &Surroundings<'_>,
    ) -> Result<AsyncChannel, Failure> {
        self.next_job = self.next_job.wrapping_add(1);
        let job = self.next_job;
        ToEnclave::Serve { job, code, deadline_ms: patience.as_millis() as u64 }.encode(&mut self.frame);
        self.channel.send(&self.frame, &[]).await.map_err(|e| enclave_died(&e.to_string()))?;
        let mut run = Run {
            job,
            around,
            outgoing: VecDeque::new(),
            open: FuturesUnordered::new(),
            finished: None,
            serving: None,
        };
        let word =
            tokio::time::timeout(patience + DEADLINE_GRACE, run.converse(&self.channel, &mut self.inbox));
        let word =
            word.await.map_err(|_| Failure::new(Fault::Host, "the enclave did not start it in time"))??;
        match (run.serving.take(), word) {
            (Some(socket), _) => Channel::from_socket(socket)
                .and_then(AsyncChannel::new)
                .map_err(|e| Failure::new(Fault::Host, format!("the channel to the worker: {e}"))),
            (None, Err(failure)) => Err(failure),
            (None, Ok(_)) => Err(out_of_turn("a job's end where a function was to be served")),
        }
    }

    /// Sends the order. The enclave is at work when this returns; [`Session::finish`] attends to it.
    pub(crate) async fn start(&mut self, order: Order) -> Result<Started, Failure> {
        self.next_job = self.next_job.wrapping_add(1);
        let job = self.next_job;
        let start = ToEnclave::Start(Box::new(Start {
            job,
            task: order.task,
            invocation: order.invocation,
            deadline_ms: order.wall.as_millis() as u64,
            fresh: order.fresh,
            live_logs: order.live_logs,
            blocks: order.push,
        }));
        start.encode(&mut self.frame);
        self.channel.send(&self.frame, &[]).await.map_err(|e| enclave_died(&e.to_string()))?;
        Ok(Started { job, deadline: tokio::time::Instant::now() + order.wall + DEADLINE_GRACE })
    }

    /// Attends to a started job until its last word.
    pub(crate) async fn finish(&mut self, started: Started, around: &Surroundings<'_>) -> JobEnd {
        let Started { job, deadline } = started;
        let mut run = Run {
            job,
            around,
            outgoing: VecDeque::new(),
            open: FuturesUnordered::new(),
            finished: None,
            serving: None,
        };
        let ended = tokio::select! {
            biased;
            ended = run.converse(&self.channel, &mut self.inbox) => Some(ended),
            () = around.cancel.cancelled() => None,
            () = tokio::time::sleep_until(deadline) => {
                let late = "the enclave did not end the job at its deadline";
                Some(Err(Failure::new(Fault::Host, late)))
            }
        };
        drop(run);
        match ended {
            Some(Ok(last)) => JobEnd::Ended(last),
            Some(Err(broken)) => JobEnd::Broken(broken),
            None => self.cancel(job).await,
        }
    }

    /// Tells the enclave to stop and waits for its last word, so that the session can be used again.
    async fn cancel(&mut self, job: u32) -> JobEnd {
        let cancelled = Failure::new(Fault::Requester, "cancelled");
        let mut frame = Vec::new();
        ToEnclave::Cancel { job, reason: CancelReason::Requester }.encode(&mut frame);
        let wait = async {
            self.channel.send(&frame, &[]).await?;
            while let Some(frame) = self.channel.receive(&mut self.inbox).await? {
                match FromEnclave::decode(frame.bytes, frame.descriptors.len())? {
                    FromEnclave::Receipt { .. } | FromEnclave::Failed { .. } => return Ok(true),
                    FromEnclave::Finished(finished) if finished.receipt.is_some() => return Ok(true),
                    // The enclave waits for `Stored` now and would wait on: nobody wants the receipt.
                    FromEnclave::Finished(_) => return Ok(false),
                    _ => {}
                }
            }
            Ok::<_, std::io::Error>(false)
        };
        match tokio::time::timeout(CANCEL_PATIENCE, wait).await {
            Ok(Ok(true)) => JobEnd::Ended(Err(cancelled)),
            _ => JobEnd::Broken(cancelled),
        }
    }
}

/// The state of one job's conversation.
struct Run<'a, 'b> {
    job: u32,
    around: &'a Surroundings<'b>,
    outgoing: VecDeque<Outgoing>,
    open: FuturesUnordered<futures::future::BoxFuture<'a, Fetched>>,
    finished: Option<Box<Finished>>,
    /// The channel to a worker that serves a function.
    serving: Option<OwnedFd>,
}

/// The job's last word, or what broke the session.
type Last = Result<Box<Ended>, Failure>;

impl<'a> Run<'a, '_> {
    async fn converse(&mut self, channel: &AsyncChannel, inbox: &mut Inbox) -> Result<Last, Failure> {
        loop {
            // Sending and receiving go on side by side: if both ends only sent, both would wait.
            tokio::select! {
                biased;
                received = channel.receive(inbox) => {
                    let frame = received.map_err(|e| enclave_died(&e.to_string()))?;
                    let Some(frame) = frame else { return Err(enclave_died("it closed the session")) };
                    let message = FromEnclave::decode(frame.bytes, frame.descriptors.len())
                        .map_err(|e| out_of_turn(&e.to_string()))?;
                    if let Some(last) = self.on_message(message, frame.descriptors).await? {
                        return Ok(last);
                    }
                }
                sent = send_first(channel, &self.outgoing), if !self.outgoing.is_empty() => {
                    sent.map_err(|e| enclave_died(&e.to_string()))?;
                    self.outgoing.pop_front();
                }
                Some((ticket, cid, fetched)) = self.open.next(), if !self.open.is_empty() => {
                    self.deliver_fetched(ticket, cid, fetched).await;
                }
            }
        }
    }

    async fn on_message(&mut self, message: FromEnclave, fds: Vec<OwnedFd>) -> Result<Option<Last>, Failure> {
        match message {
            FromEnclave::Want(wants) if self.finished.is_none() => self.serve(wants).await?,
            FromEnclave::Log { stream, bytes } => {
                let stream = match stream {
                    Stream::Stdout => LogStream::Stdout,
                    Stream::Stderr => LogStream::Stderr,
                };
                (self.around.log)(stream, bytes);
            }
            FromEnclave::Output(blocks) => {
                let file = fds.into_iter().next().ok_or_else(|| out_of_turn("output without its file"))?;
                self.store_output(blocks, file).await?;
            }
            FromEnclave::Finished(mut finished) if self.finished.is_none() => {
                let inline =
                    finished.blocks.iter().map(|(cid, data)| Block { cid: *cid, data: data.clone() });
                put(self.around.store, inline.collect()).await?;
                if let Some(envelope) = finished.receipt.take() {
                    return Ok(Some(Ok(ended(*finished, envelope))));
                }
                self.finished = Some(finished);
                let mut frame = Vec::new();
                ToEnclave::Stored { job: self.job }.encode(&mut frame);
                self.outgoing.push_back(Outgoing { frame, files: Vec::new() });
            }
            FromEnclave::Receipt { envelope } => {
                let finished =
                    self.finished.take().ok_or_else(|| out_of_turn("a receipt before the outcome"))?;
                return Ok(Some(Ok(ended(*finished, envelope))));
            }
            FromEnclave::Failed { kind, detail } => return Ok(Some(Err(failure(kind, detail)))),
            FromEnclave::Serving => {
                self.serving = fds.into_iter().next();
                return Ok(Some(Err(out_of_turn("a function where a job was to run"))));
            }
            FromEnclave::Want(_) | FromEnclave::Finished(_) => {
                return Err(out_of_turn("more after the outcome"));
            }
        }
        Ok(None)
    }

    /// Answers wants: what is here at once, what is not from the network when it comes.
    async fn serve(&mut self, wants: Vec<Wanted>) -> Result<(), Failure> {
        if self.open.len() + wants.len() > MAX_OPEN_WANTS {
            return Err(out_of_turn("more wants than a job may have open"));
        }
        let mut batch = Batch::default();
        let mut missing = Vec::new();
        // At once: what is not on the own disk may be with a program whose every answer takes its time.
        let located = join_all(wants.iter().map(|want| self.around.store.locate(&want.cid))).await;
        for (Wanted { ticket, cid }, located) in wants.into_iter().zip(located) {
            match located {
                Ok(Some(location)) => batch.add(ticket, location, &mut self.outgoing),
                Ok(None) => missing.push((ticket, cid)),
                Err(e) => batch.missing(ticket, WireFault::Host, e.to_string(), &mut self.outgoing),
            }
        }
        if !missing.is_empty() {
            match self.around.fetch {
                None => {
                    for (ticket, cid) in missing {
                        let detail = format!("block {cid} is not here, and this job may not fetch");
                        batch.missing(ticket, WireFault::Network, detail, &mut self.outgoing);
                    }
                }
                Some(fetch) => {
                    fetch.prefetch(&missing.iter().map(|(_, cid)| *cid).collect::<Vec<_>>());
                    let patience = self.around.fetch_timeout;
                    for (ticket, cid) in missing {
                        self.open.push(Box::pin(async move {
                            let fetched = match tokio::time::timeout(patience, fetch.block(&cid)).await {
                                Ok(fetched) => fetched,
                                Err(_) => {
                                    let reason =
                                        format!("nobody delivered it within {} s", patience.as_secs());
                                    Err(SourceError::Unavailable { cid, reason })
                                }
                            };
                            (ticket, cid, fetched)
                        }));
                    }
                }
            }
        }
        batch.flush(&mut self.outgoing);
        Ok(())
    }

    async fn deliver_fetched(&mut self, ticket: u64, cid: Cid, fetched: Result<Bytes, SourceError>) {
        let mut batch = Batch::default();
        match fetched {
            Ok(bytes) if bytes.len() <= MAX_INLINE => {
                batch.add(ticket, Location::Inline(bytes), &mut self.outgoing)
            }
            Ok(bytes) => {
                // A fetched block is in the store by now; its file spares a copy.
                let location = self.around.store.locate(&cid).await.ok().flatten();
                batch.add(ticket, location.unwrap_or(Location::Inline(bytes)), &mut self.outgoing);
            }
            Err(e) => {
                let fault = match e {
                    SourceError::Store(_) | SourceError::Denied(_) => WireFault::Host,
                    SourceError::NotFound(_) | SourceError::Unavailable { .. } => WireFault::Network,
                };
                batch.missing(ticket, fault, e.to_string(), &mut self.outgoing);
            }
        }
        batch.flush(&mut self.outgoing);
    }

    async fn store_output(&mut self, blocks: Vec<OutputBlock>, file: OwnedFd) -> Result<(), Failure> {
        let read = tokio::task::spawn_blocking(move || read_output(&file, &blocks)).await;
        let blocks = match read {
            Ok(Ok(blocks)) => blocks,
            Ok(Err(e)) => return Err(out_of_turn(&format!("its output cannot be read: {e}"))),
            Err(_) => return Err(Failure::new(Fault::Node, "reading the output was interrupted")),
        };
        put(self.around.store, blocks).await
    }
}

fn ended(finished: Finished, envelope: Bytes) -> Box<Ended> {
    Box::new(Ended { finished, envelope })
}

async fn put(store: &dyn BlockStore, blocks: Vec<Block>) -> Result<(), Failure> {
    if blocks.is_empty() {
        return Ok(());
    }
    let stored = store.put(blocks).await;
    stored.map_err(|e: StoreError| Failure::new(Fault::Host, format!("the result could not be stored: {e}")))
}

async fn send_first(channel: &AsyncChannel, outgoing: &VecDeque<Outgoing>) -> std::io::Result<()> {
    let Some(first) = outgoing.front() else { return Ok(()) };
    let files: Vec<_> = first.files.iter().map(|f| f.as_fd()).collect();
    channel.send(&first.frame, &files).await
}

/// Deliveries that share a frame.
#[derive(Default)]
struct Batch {
    deliveries: Vec<Delivery>,
    files: Vec<Arc<dyn AsFd + Send + Sync>>,
    /// Addresses of the open files, to name a file once in a frame. Zero: a file of its own.
    file_ids: Vec<usize>,
    inline: usize,
}

impl Batch {
    fn add(&mut self, ticket: u64, location: Location, outgoing: &mut VecDeque<Outgoing>) {
        match location {
            Location::Inline(bytes) if bytes.len() <= MAX_INLINE => {
                self.make_room(bytes.len() + 16, false, outgoing);
                self.inline += bytes.len() + 16;
                self.deliveries.push(Delivery { ticket, block: Delivered::Inline(bytes) });
            }
            Location::Inline(bytes) => match adit_wire::memory::sealed(c"adit-block", &bytes) {
                Ok(file) => {
                    self.make_room(32, true, outgoing);
                    let length = bytes.len() as u32;
                    self.push_file(ticket, Arc::new(file), 0, 0, length);
                }
                Err(e) => {
                    self.missing(ticket, WireFault::Host, format!("no memory for a block: {e}"), outgoing)
                }
            },
            Location::File { file, offset, len } => {
                let id = Arc::as_ptr(&file) as usize;
                let Ok(length) = u32::try_from(len) else {
                    return self.missing(ticket, WireFault::Host, "the block is too long".into(), outgoing);
                };
                self.make_room(32, !self.file_ids.contains(&id), outgoing);
                self.push_file(ticket, file, id, offset, length);
            }
        }
    }

    fn push_file<F: AsFd + Send + Sync + 'static>(
        &mut self,
        ticket: u64,
        file: Arc<F>,
        id: usize,
        offset: u64,
        length: u32,
    ) {
        let known = self.file_ids.iter().position(|known| *known == id && id != 0);
        let index = known.unwrap_or_else(|| {
            self.files.push(file);
            self.file_ids.push(id);
            self.files.len() - 1
        });
        self.inline += 32;
        self.deliveries
            .push(Delivery { ticket, block: Delivered::File { file: index as u8, offset, length } });
    }

    fn missing(&mut self, ticket: u64, fault: WireFault, detail: String, outgoing: &mut VecDeque<Outgoing>) {
        self.make_room(detail.len() + 32, false, outgoing);
        self.inline += detail.len() + 32;
        self.deliveries.push(Delivery { ticket, block: Delivered::Missing { fault, detail } });
    }

    fn make_room(&mut self, bytes: usize, new_file: bool, outgoing: &mut VecDeque<Outgoing>) {
        let full = self.inline + bytes > INLINE_PER_FRAME
            || self.deliveries.len() >= adit_wire::session::MAX_BATCH
            || (new_file && self.files.len() >= MAX_DESCRIPTORS);
        if full {
            self.flush(outgoing);
        }
    }

    fn flush(&mut self, outgoing: &mut VecDeque<Outgoing>) {
        if self.deliveries.is_empty() {
            return;
        }
        let batch = std::mem::take(self);
        let mut frame = Vec::new();
        ToEnclave::Blocks(batch.deliveries).encode(&mut frame);
        outgoing.push_back(Outgoing { frame, files: batch.files });
    }
}

fn read_output(file: &OwnedFd, blocks: &[OutputBlock]) -> std::io::Result<Vec<Block>> {
    let file = file.as_fd();
    let end = blocks.iter().map(|b| b.offset.saturating_add(b.length.into())).max().unwrap_or(0);
    let length = adit_wire::memory::length(file)?;
    // Sealed, so that what is read is what was hashed.
    adit_wire::memory::require_sealed(file, length)?;
    if end > length {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            "a block ends behind the output's end",
        ));
    }
    blocks
        .iter()
        .map(|block| {
            let data = adit_wire::memory::copy_out(file, block.offset, block.length as usize)?;
            Ok(Block { cid: block.cid, data: data.into() })
        })
        .collect()
}

fn enclave_died(how: &str) -> Failure {
    Failure::new(Fault::Host, format!("the enclave died while the job ran: {how}"))
}

fn out_of_turn(what: &str) -> Failure {
    Failure::new(Fault::Host, format!("the enclave broke its protocol: {what}"))
}

fn failure(kind: WireFailure, detail: String) -> Failure {
    let fault = match kind {
        WireFailure::NotImplemented
        | WireFailure::Refused
        | WireFailure::Cancelled
        | WireFailure::Deadline => Fault::Requester,
        WireFailure::Unresolvable => Fault::Network,
        WireFailure::Host | WireFailure::Worker => Fault::Host,
    };
    let reason = match kind {
        WireFailure::Deadline if detail.is_empty() => "the job's time ran out".to_owned(),
        WireFailure::Cancelled if detail.is_empty() => "cancelled".to_owned(),
        _ => detail,
    };
    Failure { fault, reason }
}
