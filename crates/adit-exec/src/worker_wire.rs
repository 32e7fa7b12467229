//! What the enclave and its jailed processes say to each other.
//!
//! The *worker* drives a job: it asks for the blocks that it needs, names the slot that it wants each in, and
//! keeps the slots' books. The enclave checks every number that it is given, remembers only which CIDs the job
//! may see, and answers. A worker's life:
//!
//! ```text
//! enclave → worker   Open (slots, output file)
//! worker  → enclave  Ready
//! enclave → worker   Load (machine code)                 once
//! worker  → enclave  Loaded, or Refused
//! enclave → worker   Run (one job)                       ┐
//! worker  → enclave  Want, Log …                         │ as often as there are jobs
//! enclave → worker   Have, Refused …                     │
//! worker  → enclave  Output …, Done                      ┘
//! ```
//!
//! The *compiler* gets one [`ToCompiler`], gives one [`FromCompiler`] and ends. Every want is answered before
//! `Done`, so no frame about one job can be taken for part of the next. Closing the channel ends either process.

use crate::fault::{CodeFault, Fault};
use adit_wire::codec::{DecodeError, Message, Reader, Writer};
use bytes::Bytes;
use cid::Cid;

/// Bytes of blocks that may be pushed with `Run`.
pub const MAX_PUSHED: usize = 48 << 10;

/// Bytes of arguments, environment and paths of one job together. With [`MAX_PUSHED`] they fill half a frame.
pub const MAX_WORDS: usize = 48 << 10;

/// Most arguments, environment variables or inputs of a job.
pub const MAX_ITEMS: usize = 1024;

/// Most wants in one frame; a worker never has more slots to fill.
pub const MAX_WANTS: usize = 512;

/// Longest piece of log in one frame.
pub const MAX_LOG: usize = 16 << 10;

/// An output of at most this many bytes (files, stdout, stderr together) travels inside the frames.
pub const MAX_INLINE_OUTPUT: usize = 16 << 10;

/// Most files, directories and symlinks under `/out`.
pub const MAX_OUTPUT_NODES: usize = 65_536;

/// Longest path under `/out`, and longest symlink target.
pub const MAX_PATH: usize = 4096;

/// Bytes that one `Output` frame is filled up to before the next begins.
pub const OUTPUT_FRAME: usize = 64 << 10;

/// The output file is dealt out in pages of this size, and quotas are counted in them.
pub const PAGE: u64 = 4096;

/// Enclave → worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToWorker {
    /// First frame. Descriptors: slots (mapped read-only), output file (mapped read-write).
    Open {
        slots: u32,
        slot_size: u32,
        output: u64,
    },
    /// Second frame. Descriptor: machine code from our own compiler, sealed. Afterwards nothing becomes executable.
    Load {
        length: u64,
        /// It is to answer HTTP requests, not to run as a command.
        function: bool,
    },
    Run(Box<Job>),
    /// Instead of `Run`: answer requests that come by the channel that comes with it, to the end. Only for functions.
    Serve,
    /// The block that was wanted in `slot` lies there, verified.
    Have {
        slot: u32,
        length: u32,
    },
    /// The block that was wanted in `slot` will not come.
    Refused {
        slot: u32,
        why: Refusal,
    },
}

/// Why a block does not come. None of these is ever seen by the guest: the job ends without an Outcome, except
/// for `NotLinked` and `TooBig`, which are facts about the input and the same on every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody delivered it.
    Missing,
    /// The job has no right to it: it is neither a root nor linked from a block that the job was given.
    NotLinked,
    /// It is longer than a slot, so longer than any block that Adit carries.
    TooBig,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    pub limits: JobLimits,
    /// The whole argument vector, the program's name first.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Absolute guest path and root of each input.
    pub inputs: Vec<(String, Cid)>,
    /// The file that is read as stdin; none is an empty one.
    pub stdin: Option<Cid>,
    /// Seeds the guest's randomness.
    pub seed: [u8; 32],
    /// Send stdout and stderr while they are written.
    pub live_logs: bool,
    /// Blocks that the job will want, verified, so that a small job takes one frame each way.
    pub pushed: Vec<(Cid, Bytes)>,
}

/// What the Task allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobLimits {
    /// WebAssembly operators and host work together; see `meter`.
    pub fuel: u64,
    /// Bytes of linear memory, all memories together.
    pub memory: u64,
    /// Bytes of `/out`, stdout and stderr together, each file counted in whole [`PAGE`]s.
    pub output: u64,
}

/// Worker → enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromWorker {
    Ready,
    Loaded,
    /// The code cannot be linked, or holds more than a worker has room for. The worker ends.
    Refused(CodeFault),
    /// Blocks to put into slots, most urgent first.
    Want(Vec<Want>),
    Log {
        stream: LogStream,
        bytes: Bytes,
    },
    /// Nodes under `/out`, in order (each directory before what is in it, siblings sorted by their bytes).
    Output(Vec<OutputNode>),
    Done(Box<Done>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    pub cid: Cid,
    pub slot: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// One thing under `/out`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputNode {
    /// Relative to `/out`, components separated by `/`, never empty, `.` or `..`.
    pub path: String,
    pub kind: OutputKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputKind {
    Directory,
    File(Content),
    Symlink(String),
}

/// Where bytes of the output are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Inline(Bytes),
    /// In runs of pages of the output file, in this order; the last page may be partly used.
    Pages {
        length: u64,
        runs: Vec<Run>,
    },
}

/// Pages that follow each other in the output file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub first: u32,
    pub count: u32,
}

impl Content {
    pub fn length(&self) -> u64 {
        match self {
            Content::Inline(bytes) => bytes.len() as u64,
            Content::Pages { length, .. } => *length,
        }
    }
}

/// The last word about a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub end: End,
    /// Operators and host work together, as the Outcome states it.
    pub fuel: u64,
    pub stdout: Content,
    pub stderr: Content,
    /// What reading the inputs fetched. Not part of the Outcome: it depends on read-ahead.
    pub blocks_read: u64,
    pub bytes_read: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Exit(u8),
    /// Goes into the Outcome: the same on every honest host. No output comes with it except stdout and stderr.
    Fault(Fault),
    /// A block did not come. A job state, never an Outcome.
    Unserved(Cid),
    /// This host could not do it. A job state, never an Outcome.
    Host(String),
}

/// Enclave → compiler. Descriptor: the WebAssembly, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToCompiler {
    pub length: u64,
}

/// Compiler → enclave. A compiler that dies without a word ran into its limits of memory or time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromCompiler {
    /// Descriptor: machine code, sealed, of this length.
    Compiled { length: u64 },
    /// The code is not what it should be.
    Refused(CodeFault),
    /// This host could not do it.
    Host(String),
}

const fn unknown<T>(what: &'static str, value: u8) -> Result<T, DecodeError> {
    Err(DecodeError::Unknown { what, value: value as u64 })
}

impl Message for ToWorker {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            ToWorker::Open { slots, slot_size, output } => {
                w.u8(0).u32(*slots).u32(*slot_size).u64(*output);
            }
            ToWorker::Load { length, function } => {
                w.u8(1).u64(*length).bool(*function);
            }
            ToWorker::Run(job) => {
                w.u8(2);
                job.write(w);
            }
            ToWorker::Serve => {
                w.u8(5);
            }
            ToWorker::Have { slot, length } => {
                w.u8(3).u32(*slot).u32(*length);
            }
            ToWorker::Refused { slot, why } => {
                w.u8(4).u32(*slot).u8(match why {
                    Refusal::Missing => 0,
                    Refusal::NotLinked => 1,
                    Refusal::TooBig => 2,
                });
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("tag")? {
            0 => ToWorker::Open {
                slots: r.u32("slots")?,
                slot_size: r.u32("slot size")?,
                output: r.u64("output")?,
            },
            1 => ToWorker::Load { length: r.u64("length")?, function: r.bool("function")? },
            2 => ToWorker::Run(Box::new(Job::read(r)?)),
            3 => ToWorker::Have { slot: r.u32("slot")?, length: r.u32("length")? },
            4 => ToWorker::Refused {
                slot: r.u32("slot")?,
                why: match r.u8("refusal")? {
                    0 => Refusal::Missing,
                    1 => Refusal::NotLinked,
                    2 => Refusal::TooBig,
                    other => return unknown("refusal", other),
                },
            },
            5 => ToWorker::Serve,
            other => return unknown("message", other),
        })
    }

    fn descriptors(&self) -> usize {
        match self {
            ToWorker::Open { .. } => 2,
            ToWorker::Load { .. } | ToWorker::Serve => 1,
            _ => 0,
        }
    }
}

impl Job {
    /// Whether its words fit into a frame; a Task whose words do not is malformed.
    pub fn fits(&self) -> bool {
        let args = self.args.iter().map(|arg| arg.len() + 4);
        let env = self.env.iter().map(|(key, value)| key.len() + value.len() + 8);
        let inputs = self.inputs.iter().map(|(path, _)| path.len() + 4 + 1 + adit_wire::codec::MAX_CID);
        let items = self.args.len().max(self.env.len()).max(self.inputs.len());
        items <= MAX_ITEMS && args.chain(env).chain(inputs).sum::<usize>() <= MAX_WORDS
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.limits.fuel).u64(self.limits.memory).u64(self.limits.output);
        w.each(&self.args, |w, arg| {
            w.text(arg);
        });
        w.each(&self.env, |w, (key, value)| {
            w.text(key).text(value);
        });
        w.each(&self.inputs, |w, (path, root)| {
            w.text(path).cid(root);
        });
        w.optional(self.stdin.as_ref(), |w, cid| {
            w.cid(cid);
        });
        w.raw(&self.seed).bool(self.live_logs);
        w.each(&self.pushed, |w, (cid, block)| {
            w.cid(cid).bytes(block);
        });
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Job {
            limits: JobLimits {
                fuel: r.u64("fuel")?,
                memory: r.u64("memory")?,
                output: r.u64("output limit")?,
            },
            args: r.each("arguments", MAX_ITEMS, |r| r.text("argument", MAX_WORDS))?,
            env: r.each("environment", MAX_ITEMS, |r| {
                Ok((r.text("variable", MAX_WORDS)?, r.text("value", MAX_WORDS)?))
            })?,
            inputs: r.each("inputs", MAX_ITEMS, |r| Ok((r.text("path", MAX_PATH)?, r.cid()?)))?,
            stdin: r.optional("stdin", |r| r.cid())?,
            seed: r.array("seed")?,
            live_logs: r.bool("live logs")?,
            pushed: r.each("pushed blocks", MAX_ITEMS, |r| Ok((r.cid()?, r.owned("block", MAX_PUSHED)?)))?,
        })
    }
}

impl Message for FromWorker {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            FromWorker::Ready => {
                w.u8(0);
            }
            FromWorker::Loaded => {
                w.u8(1);
            }
            FromWorker::Want(wants) => {
                w.u8(2).each(wants, |w, want| {
                    w.cid(&want.cid).u32(want.slot);
                });
            }
            FromWorker::Log { stream, bytes } => {
                w.u8(3).u8(matches!(stream, LogStream::Stderr).into()).bytes(bytes);
            }
            FromWorker::Output(nodes) => {
                w.u8(4).each(nodes, |w, node| node.write(w));
            }
            FromWorker::Done(done) => {
                w.u8(5);
                match &done.end {
                    End::Exit(code) => {
                        w.u8(0).u8(*code);
                    }
                    End::Fault(fault) => {
                        w.u8(1);
                        fault.write(w);
                    }
                    End::Unserved(cid) => {
                        w.u8(2).cid(cid);
                    }
                    End::Host(detail) => {
                        w.u8(3).detail(detail);
                    }
                }
                w.u64(done.fuel);
                done.stdout.write(w);
                done.stderr.write(w);
                w.u64(done.blocks_read).u64(done.bytes_read);
            }
            FromWorker::Refused(fault) => {
                w.u8(6);
                fault.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("tag")? {
            0 => FromWorker::Ready,
            1 => FromWorker::Loaded,
            2 => FromWorker::Want(
                r.each("wants", MAX_WANTS, |r| Ok(Want { cid: r.cid()?, slot: r.u32("slot")? }))?,
            ),
            3 => FromWorker::Log {
                stream: match r.u8("stream")? {
                    0 => LogStream::Stdout,
                    1 => LogStream::Stderr,
                    other => return unknown("stream", other),
                },
                bytes: r.owned("log", MAX_LOG)?,
            },
            4 => FromWorker::Output(r.each("output nodes", MAX_OUTPUT_NODES, OutputNode::read)?),
            5 => FromWorker::Done(Box::new(Done {
                end: match r.u8("end")? {
                    0 => End::Exit(r.u8("exit")?),
                    1 => End::Fault(Fault::read(r)?),
                    2 => End::Unserved(r.cid()?),
                    3 => End::Host(r.detail()?),
                    other => return unknown("end", other),
                },
                fuel: r.u64("fuel")?,
                stdout: Content::read(r)?,
                stderr: Content::read(r)?,
                blocks_read: r.u64("blocks read")?,
                bytes_read: r.u64("bytes read")?,
            })),
            6 => FromWorker::Refused(CodeFault::read(r)?),
            other => return unknown("message", other),
        })
    }
}

/// Most runs of pages in one file. A guest that scatters its writes so that a file would need more gets the
/// file moved into fewer before it is described.
pub const MAX_RUNS: usize = 4096;

impl Content {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Content::Inline(bytes) => {
                w.u8(0).bytes(bytes);
            }
            Content::Pages { length, runs } => {
                w.u8(1).u64(*length).each(runs, |w, run| {
                    w.u32(run.first).u32(run.count);
                });
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match r.u8("content")? {
            0 => Ok(Content::Inline(r.owned("content", MAX_INLINE_OUTPUT)?)),
            1 => Ok(Content::Pages {
                length: r.u64("length")?,
                runs: r.each("runs", MAX_RUNS, |r| {
                    Ok(Run { first: r.u32("first page")?, count: r.u32("pages")? })
                })?,
            }),
            other => unknown("content", other),
        }
    }

    /// Bytes of the encoding, to fill frames by.
    pub(crate) fn encoded_size(&self) -> usize {
        match self {
            Content::Inline(bytes) => 5 + bytes.len(),
            Content::Pages { runs, .. } => 13 + 8 * runs.len(),
        }
    }
}

impl OutputNode {
    fn write(&self, w: &mut Writer<'_>) {
        w.text(&self.path);
        match &self.kind {
            OutputKind::Directory => {
                w.u8(0);
            }
            OutputKind::File(content) => {
                w.u8(1);
                content.write(w);
            }
            OutputKind::Symlink(target) => {
                w.u8(2).text(target);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let path = r.text("path", MAX_PATH)?;
        let kind = match r.u8("node")? {
            0 => OutputKind::Directory,
            1 => OutputKind::File(Content::read(r)?),
            2 => OutputKind::Symlink(r.text("target", MAX_PATH)?),
            other => return unknown("node", other),
        };
        Ok(OutputNode { path, kind })
    }

    /// Bytes of the encoding, to fill frames by.
    pub(crate) fn encoded_size(&self) -> usize {
        5 + self.path.len()
            + match &self.kind {
                OutputKind::Directory => 0,
                OutputKind::File(content) => content.encoded_size(),
                OutputKind::Symlink(target) => 4 + target.len(),
            }
    }
}

impl Message for ToCompiler {
    fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.length);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(ToCompiler { length: r.u64("length")? })
    }

    fn descriptors(&self) -> usize {
        1
    }
}

impl Message for FromCompiler {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            FromCompiler::Compiled { length } => {
                w.u8(0).u64(*length);
            }
            FromCompiler::Refused(fault) => {
                w.u8(1);
                fault.write(w);
            }
            FromCompiler::Host(detail) => {
                w.u8(2).detail(detail);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match r.u8("tag")? {
            0 => FromCompiler::Compiled { length: r.u64("length")? },
            1 => FromCompiler::Refused(CodeFault::read(r)?),
            2 => FromCompiler::Host(r.detail()?),
            other => return unknown("message", other),
        })
    }

    fn descriptors(&self) -> usize {
        matches!(self, FromCompiler::Compiled { .. }).into()
    }
}

// The largest legal parts fit into a frame together.
const _: () = assert!(MAX_PUSHED + MAX_WORDS + 3 * MAX_ITEMS < adit_wire::MAX_FRAME);
const _: () = assert!(MAX_WANTS * (1 + adit_wire::codec::MAX_CID + 4) < adit_wire::MAX_FRAME);
const _: () = assert!(OUTPUT_FRAME + 3 * MAX_PATH + 8 * MAX_RUNS < adit_wire::MAX_FRAME);
const _: () = assert!(2 * 8 * MAX_RUNS + 1024 < adit_wire::MAX_FRAME);

#[cfg(test)]
mod tests;
