//! The control channel: one for the life of an enclave, descriptor 3 when it starts.
//!
//! `Hello` → `Ready` → `Endorse`, then sessions are opened and `Code` and `Stats` come back. When this
//! channel closes the enclave ends, and takes its workers with it.

use crate::codec::{DecodeError, MAX_DETAIL, Message, Reader, Writer};
use bytes::Bytes;
use cid::Cid;

/// Of these messages; node and enclave are installed together, so any other is a mistake worth a clear word.
pub const VERSION: u32 = 2;

const MAX_NODE_ID: usize = 64;
const MAX_RUNTIME: usize = 128;
const MAX_ENDORSEMENT: usize = 4 << 10;

/// Node → enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToEnclave {
    Hello(Hello),
    /// The node's signature over the job key, carried by every receipt: the bytes of a signed Endorsement.
    /// May come again, before the old one expires.
    Endorse {
        endorsement: Bytes,
    },
    /// Opens a job slot. Descriptor: the enclave's end of the session's channel.
    OpenSession,
    /// Answered by `Stats`.
    GetStats,
    /// Ends the enclave, now. Closing the channel does the same.
    Shutdown,
}

/// What an enclave is told about the node that it works for, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub version: u32,
    /// The operator's account, named as host in receipts.
    pub host: [u8; 20],
    /// The node's peer id, as bytes.
    pub node: Bytes,
    /// How many sessions there are at most: jobs that run at the same time, and workers that serve functions.
    pub workers: u32,
    /// Most bytes of guest memory for one job; a Task that asks for more is refused.
    pub memory: u64,
    /// Most bytes of `/out`, stdout and stderr for one job.
    pub output: u64,
    /// Bytes of machine code to keep, in memory.
    pub code_cache: u64,
    /// How many Outcomes to remember.
    pub remembered: u32,
    /// After how many idle milliseconds the pool lets its workers go.
    pub idle_ms: u64,
}

/// Enclave → node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromEnclave {
    /// Answer to `Hello`. `job_key` is secp256k1, compressed, made at start and never written down.
    Ready {
        job_key: [u8; 33],
        runtime: String,
    },
    /// `Hello` cannot be served; the enclave ends.
    Refused {
        detail: String,
    },
    /// Machine code for this program was added to the cache, or left it: what a bid says about a cold start.
    Code {
        code: Cid,
        cached: bool,
    },
    Stats(Stats),
}

/// Counters since the start, and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub sessions: u64,
    pub jobs: u64,
    pub remembered_jobs: u64,
    pub failed_jobs: u64,
    pub compiled: u64,
    pub compile_failed: u64,
    pub workers_started: u64,
    pub workers_ended: u64,
    pub workers_alive: u64,
    pub codes_cached: u64,
    pub code_bytes: u64,
    pub blocks_verified: u64,
    pub bytes_verified: u64,
    /// Blocks from the node that were not what their CID says.
    pub blocks_refused: u64,
}

impl Stats {
    fn fields(&mut self) -> [&mut u64; 14] {
        [
            &mut self.sessions,
            &mut self.jobs,
            &mut self.remembered_jobs,
            &mut self.failed_jobs,
            &mut self.compiled,
            &mut self.compile_failed,
            &mut self.workers_started,
            &mut self.workers_ended,
            &mut self.workers_alive,
            &mut self.codes_cached,
            &mut self.code_bytes,
            &mut self.blocks_verified,
            &mut self.bytes_verified,
            &mut self.blocks_refused,
        ]
    }
}

impl Message for ToEnclave {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            ToEnclave::Hello(hello) => {
                writer.u8(0).u32(hello.version).raw(&hello.host).bytes(&hello.node).u32(hello.workers);
                writer.u64(hello.memory).u64(hello.output).u64(hello.code_cache);
                writer.u32(hello.remembered).u64(hello.idle_ms)
            }
            ToEnclave::Endorse { endorsement } => writer.u8(1).bytes(endorsement),
            ToEnclave::OpenSession => writer.u8(2),
            ToEnclave::GetStats => writer.u8(3),
            ToEnclave::Shutdown => writer.u8(4),
        };
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8("tag")? {
            0 => ToEnclave::Hello(Hello {
                version: reader.u32("version")?,
                host: reader.array("host")?,
                node: reader.owned("node id", MAX_NODE_ID)?,
                workers: reader.u32("workers")?,
                memory: reader.u64("memory")?,
                output: reader.u64("output")?,
                code_cache: reader.u64("code cache")?,
                remembered: reader.u32("remembered")?,
                idle_ms: reader.u64("idle time")?,
            }),
            1 => ToEnclave::Endorse { endorsement: reader.owned("endorsement", MAX_ENDORSEMENT)? },
            2 => ToEnclave::OpenSession,
            3 => ToEnclave::GetStats,
            4 => ToEnclave::Shutdown,
            value => return Err(DecodeError::Unknown { what: "message", value: value.into() }),
        })
    }

    fn descriptors(&self) -> usize {
        matches!(self, ToEnclave::OpenSession).into()
    }
}

impl Message for FromEnclave {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            FromEnclave::Ready { job_key, runtime } => writer.u8(0).raw(job_key).text(runtime),
            FromEnclave::Refused { detail } => writer.u8(1).detail(detail),
            FromEnclave::Code { code, cached } => writer.u8(2).cid(code).bool(*cached),
            FromEnclave::Stats(stats) => {
                writer.u8(3);
                stats.clone().fields().into_iter().fold(writer, |writer, field| writer.u64(*field))
            }
        };
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8("tag")? {
            0 => FromEnclave::Ready {
                job_key: reader.array("job key")?,
                runtime: reader.text("runtime", MAX_RUNTIME)?,
            },
            1 => FromEnclave::Refused { detail: reader.text("detail", MAX_DETAIL)? },
            2 => FromEnclave::Code { code: reader.cid()?, cached: reader.bool("cached")? },
            3 => {
                let mut stats = Stats::default();
                for field in stats.fields() {
                    *field = reader.u64("stats")?;
                }
                FromEnclave::Stats(stats)
            }
            value => return Err(DecodeError::Unknown { what: "message", value: value.into() }),
        })
    }
}
