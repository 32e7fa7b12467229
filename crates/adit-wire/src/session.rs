//! A session: one job slot, one job at a time.
//!
//! ```text
//! node                                             enclave
//!   Start{task, invocation, blocks…}      ──────▶
//!                                         ◀──────  Want{(ticket, cid)…}        any number of times:
//!   Blocks{(ticket, bytes | file range)…} ──────▶                              code, inputs, stdin
//!                                         ◀──────  Log{stdout | stderr}        with `live_logs`
//!                                         ◀──────  Output{blocks} + fd         large results
//!                                         ◀──────  Finished{outcome, stats, receipt?}
//!   Stored                                ──────▶                              only if the receipt did
//!                                         ◀──────  Receipt{envelope}           not come with `Finished`
//! ```
//!
//! `Failed` can take the place of everything after `Start`: the host or the network could not do it, and
//! nothing was computed that anybody signs. `Receipt`, `Failed`, or `Finished` with a receipt is the last word
//! about a job; the session is then free for the next `Start`. A `Start` before that is a violation, and ends
//! the session. `Cancel` and `Blocks` that come too late are for nobody and are passed over: jobs and tickets are
//! numbered.
//!
//! Small results travel inside `Finished`, and then the receipt does too: whoever holds the receipt holds the
//! blocks that it names, which is all that `Stored` is for. A small job is thus one frame there and one back.

use crate::{
    channel::{MAX_DESCRIPTORS, MAX_FRAME},
    codec::{DecodeError, Message, Reader, Writer},
};
use bytes::Bytes;
use cid::Cid;

/// Longest block that travels inside a frame; longer ones stay in files.
pub const MAX_INLINE: usize = 64 << 10;

/// Longest block at all: what Adit's bitswap carries. One slot holds one block.
pub const MAX_BLOCK: usize = 2 << 20;

/// Longest Task, Outcome or Envelope.
pub const MAX_RECORD: usize = 64 << 10;

/// Longest signed Invocation.
pub const MAX_INVOCATION: usize = 4 << 10;

/// Bytes of blocks that may be pushed with `Start`, or come back in `Finished`.
pub const MAX_PUSHED: usize = 48 << 10;

/// Most wants or answers in one frame, most output blocks named by one.
pub const MAX_BATCH: usize = 512;

/// Longest piece of log in one frame.
pub const MAX_LOG: usize = 32 << 10;

/// Node → enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToEnclave {
    Start(Box<Start>),
    /// Answers to wants, in any order and grouping. Descriptors: the files that `File` counts.
    Blocks(Vec<Delivery>),
    /// The node has every block of the job that was finished last.
    Stored {
        job: u32,
    },
    Cancel {
        job: u32,
        reason: CancelReason,
    },
    /// Instead of `Start`: have a worker serve this program's HTTP requests, until this session is closed.
    Serve {
        job: u32,
        code: Cid,
        /// Time until the worker is ready, compiling and fetching included.
        deadline_ms: u64,
    },
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The node's own number for it, to tell late messages from timely ones.
    pub job: u32,
    /// Canonical bytes of the Task.
    pub task: Bytes,
    /// Bytes of the signed Invocation.
    pub invocation: Bytes,
    /// Wall-clock time from now until the worker is killed, compiling and fetching included.
    pub deadline_ms: u64,
    /// Run even if the Outcome is remembered.
    pub fresh: bool,
    /// Send stdout and stderr while they are written.
    pub live_logs: bool,
    /// Blocks that the job will want, small enough to come along. They are checked like all others.
    pub blocks: Vec<(Cid, Bytes)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    Requester,
    Shutdown,
}

/// The answer to one want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub ticket: u64,
    pub block: Delivered,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    Inline(Bytes),
    /// Where the block lies in the `file`th descriptor of this frame.
    File {
        file: u8,
        offset: u64,
        length: u32,
    },
    Missing {
        fault: Fault,
        detail: String,
    },
}

/// Whose fault it is that a block is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody who was asked has it.
    Network,
    /// This host promised it and cannot read it.
    Host,
}

/// Enclave → node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromEnclave {
    /// Blocks that the job needs, most urgent first. Tickets never repeat within a session.
    Want(Vec<Wanted>),
    Log {
        stream: Stream,
        bytes: Bytes,
    },
    /// Blocks of the result that are not inside `Finished`. Descriptor: the file they lie in, sealed.
    Output(Vec<OutputBlock>),
    Finished(Box<Finished>),
    /// Bytes of the receipt's Envelope.
    Receipt {
        envelope: Bytes,
    },
    Failed {
        kind: Failure,
        detail: String,
    },
    /// Answer to `Serve`. Descriptor: the node's end of the channel to the worker; see [`crate::http`].
    Serving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub ticket: u64,
    pub cid: Cid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputBlock {
    pub cid: Cid,
    pub offset: u64,
    pub length: u32,
}

/// The job ran to its end, which may be an error of the program or of the requester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Canonical bytes of the Outcome.
    pub outcome: Bytes,
    pub stats: JobStats,
    /// The small blocks of the result.
    pub blocks: Vec<(Cid, Bytes)>,
    /// The Envelope, when nothing is left to be stored first.
    pub receipt: Option<Bytes>,
}

/// What a job cost here. Not signed, differs from run to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobStats {
    pub fuel: u64,
    /// Bytes and number of the distinct blocks that the guest's reading fetched, code excluded.
    pub bytes_read: u64,
    pub blocks_read: u64,
    /// Bytes of stdout, stderr and `/out`.
    pub bytes_written: u64,
    /// Zero when the machine code was at hand.
    pub compile_us: u64,
    pub run_us: u64,
    /// From `Start` to `Finished`.
    pub total_us: u64,
    /// The Outcome is an earlier one.
    pub remembered: bool,
    /// The worker had run this code before.
    pub warm: bool,
}

/// Why a job has no Outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The Task asks for something that this version does not do, named in the detail.
    NotImplemented,
    /// The Task or Invocation is malformed, or asks for more than this host gives.
    Refused,
    /// A block could not be had from anybody.
    Unresolvable,
    /// The node delivered bytes that are not what their CID says, or none although it promised.
    Host,
    /// The worker or the compiler ended in a way that no program can cause by itself.
    Worker,
    Deadline,
    Cancelled,
}

macro_rules! one_byte {
    ($name:ident { $($variant:ident = $number:literal),* $(,)? }) => {
        impl $name {
            fn number(self) -> u8 {
                match self { $($name::$variant => $number),* }
            }
            fn from_number(number: u8) -> Result<Self, DecodeError> {
                match number {
                    $($number => Ok($name::$variant),)*
                    value => Err(DecodeError::Unknown { what: stringify!($name), value: value.into() }),
                }
            }
        }
    };
}
one_byte!(CancelReason { Requester = 0, Shutdown = 1 });
one_byte!(Fault { Network = 0, Host = 1 });
one_byte!(Stream { Stdout = 0, Stderr = 1 });
one_byte!(Failure {
    NotImplemented = 0,
    Refused = 1,
    Unresolvable = 2,
    Host = 3,
    Worker = 4,
    Deadline = 5,
    Cancelled = 6,
});

impl Start {
    /// Bytes that one pushed block takes of [`MAX_PUSHED`], for whoever fills `blocks`.
    pub fn pushed_size(block: &[u8]) -> usize {
        block.len() + crate::codec::MAX_CID + 8
    }
}

fn write_blocks(writer: &mut Writer<'_>, blocks: &[(Cid, Bytes)]) {
    writer.each(blocks, |writer, (cid, block)| {
        writer.cid(cid).bytes(block);
    });
}

fn read_blocks(reader: &mut Reader<'_>) -> Result<Vec<(Cid, Bytes)>, DecodeError> {
    reader.each("blocks", MAX_BATCH, |reader| Ok((reader.cid()?, reader.owned("block", MAX_INLINE)?)))
}

fn read_length(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let length = reader.u32("length")?;
    if length as usize > MAX_BLOCK {
        return Err(DecodeError::TooMany { what: "block", length: length as usize, limit: MAX_BLOCK });
    }
    Ok(length)
}

impl Message for ToEnclave {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            ToEnclave::Start(start) => {
                writer
                    .u8(0)
                    .u32(start.job)
                    .bytes(&start.task)
                    .bytes(&start.invocation)
                    .u64(start.deadline_ms);
                writer.bool(start.fresh).bool(start.live_logs);
                write_blocks(writer, &start.blocks);
            }
            ToEnclave::Blocks(blocks) => {
                writer.u8(1).each(blocks, |writer, delivery| {
                    writer.u64(delivery.ticket);
                    match &delivery.block {
                        Delivered::Inline(bytes) => writer.u8(0).bytes(bytes),
                        Delivered::File { file, offset, length } => {
                            writer.u8(1).u8(*file).u64(*offset).u32(*length)
                        }
                        Delivered::Missing { fault, detail } => {
                            writer.u8(2).u8(fault.number()).detail(detail)
                        }
                    };
                });
            }
            ToEnclave::Stored { job } => {
                writer.u8(2).u32(*job);
            }
            ToEnclave::Cancel { job, reason } => {
                writer.u8(3).u32(*job).u8(reason.number());
            }
            ToEnclave::Serve { job, code, deadline_ms } => {
                writer.u8(4).u32(*job).cid(code).u64(*deadline_ms);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8("tag")? {
            0 => ToEnclave::Start(Box::new(Start {
                job: reader.u32("job")?,
                task: reader.owned("task", MAX_RECORD)?,
                invocation: reader.owned("invocation", MAX_INVOCATION)?,
                deadline_ms: reader.u64("deadline")?,
                fresh: reader.bool("fresh")?,
                live_logs: reader.bool("live logs")?,
                blocks: read_blocks(reader)?,
            })),
            1 => ToEnclave::Blocks(reader.each("deliveries", MAX_BATCH, |reader| {
                let ticket = reader.u64("ticket")?;
                let block = match reader.u8("delivery")? {
                    0 => Delivered::Inline(reader.owned("block", MAX_INLINE)?),
                    1 => Delivered::File {
                        file: reader.u8("file")?,
                        offset: reader.u64("offset")?,
                        length: read_length(reader)?,
                    },
                    2 => Delivered::Missing {
                        fault: Fault::from_number(reader.u8("fault")?)?,
                        detail: reader.detail()?,
                    },
                    value => return Err(DecodeError::Unknown { what: "delivery", value: value.into() }),
                };
                Ok(Delivery { ticket, block })
            })?),
            2 => ToEnclave::Stored { job: reader.u32("job")? },
            3 => ToEnclave::Cancel {
                job: reader.u32("job")?,
                reason: CancelReason::from_number(reader.u8("reason")?)?,
            },
            4 => ToEnclave::Serve {
                job: reader.u32("job")?,
                code: reader.cid()?,
                deadline_ms: reader.u64("deadline")?,
            },
            value => return Err(DecodeError::Unknown { what: "message", value: value.into() }),
        })
    }

    /// As many as the highest number that a `File` counts; [`MAX_DESCRIPTORS`] at most, or no frame carries it.
    fn descriptors(&self) -> usize {
        let ToEnclave::Blocks(blocks) = self else { return 0 };
        let files = blocks.iter().map(|delivery| match delivery.block {
            Delivered::File { file, .. } => file as usize + 1,
            _ => 0,
        });
        files.max().unwrap_or(0)
    }
}

impl Message for FromEnclave {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            FromEnclave::Want(wants) => {
                writer.u8(0).each(wants, |writer, want| {
                    writer.u64(want.ticket).cid(&want.cid);
                });
            }
            FromEnclave::Log { stream, bytes } => {
                writer.u8(1).u8(stream.number()).bytes(bytes);
            }
            FromEnclave::Output(blocks) => {
                writer.u8(2).each(blocks, |writer, block| {
                    writer.cid(&block.cid).u64(block.offset).u32(block.length);
                });
            }
            FromEnclave::Finished(finished) => {
                writer.u8(3).bytes(&finished.outcome);
                let stats = &finished.stats;
                writer.u64(stats.fuel).u64(stats.bytes_read).u64(stats.blocks_read).u64(stats.bytes_written);
                writer.u64(stats.compile_us).u64(stats.run_us).u64(stats.total_us);
                writer.bool(stats.remembered).bool(stats.warm);
                write_blocks(writer, &finished.blocks);
                writer.optional(finished.receipt.as_ref(), |writer, receipt| {
                    writer.bytes(receipt);
                });
            }
            FromEnclave::Receipt { envelope } => {
                writer.u8(4).bytes(envelope);
            }
            FromEnclave::Failed { kind, detail } => {
                writer.u8(5).u8(kind.number()).detail(detail);
            }
            FromEnclave::Serving => {
                writer.u8(6);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8("tag")? {
            0 => FromEnclave::Want(reader.each("wants", MAX_BATCH, |reader| {
                Ok(Wanted { ticket: reader.u64("ticket")?, cid: reader.cid()? })
            })?),
            1 => FromEnclave::Log {
                stream: Stream::from_number(reader.u8("stream")?)?,
                bytes: reader.owned("log", MAX_LOG)?,
            },
            2 => FromEnclave::Output(reader.each("blocks", MAX_BATCH, |reader| {
                Ok(OutputBlock {
                    cid: reader.cid()?,
                    offset: reader.u64("offset")?,
                    length: read_length(reader)?,
                })
            })?),
            3 => FromEnclave::Finished(Box::new(Finished {
                outcome: reader.owned("outcome", MAX_RECORD)?,
                stats: JobStats {
                    fuel: reader.u64("fuel")?,
                    bytes_read: reader.u64("bytes read")?,
                    blocks_read: reader.u64("blocks read")?,
                    bytes_written: reader.u64("bytes written")?,
                    compile_us: reader.u64("compile time")?,
                    run_us: reader.u64("run time")?,
                    total_us: reader.u64("total time")?,
                    remembered: reader.bool("remembered")?,
                    warm: reader.bool("warm")?,
                },
                blocks: read_blocks(reader)?,
                receipt: reader.optional("receipt", |reader| reader.owned("receipt", MAX_RECORD))?,
            })),
            4 => FromEnclave::Receipt { envelope: reader.owned("receipt", MAX_RECORD)? },
            5 => FromEnclave::Failed {
                kind: Failure::from_number(reader.u8("kind")?)?,
                detail: reader.detail()?,
            },
            6 => FromEnclave::Serving,
            value => return Err(DecodeError::Unknown { what: "message", value: value.into() }),
        })
    }

    fn descriptors(&self) -> usize {
        matches!(self, FromEnclave::Output(_) | FromEnclave::Serving).into()
    }
}

// The largest legal parts fit into a frame together.
const _: () = assert!(MAX_RECORD + MAX_INVOCATION + MAX_PUSHED + 1024 < MAX_FRAME);
const _: () = assert!(MAX_BATCH * (8 + 1 + crate::codec::MAX_CID) < MAX_FRAME);
const _: () = assert!(MAX_DESCRIPTORS <= u8::MAX as usize);
