//! What a guest sees of the world: WASI 0.2 or preview 1, answered without an event loop.
//!
//! [`Host`] is one job's world. The interfaces of WASI 0.2, for components, are implemented one file each:
//! [`filesystem`], [`streams`] (`wasi:io`), [`stdio`] (`wasi:cli`), [`time`], [`chance`], [`refusals`] (networks, for
//! jobs), and [`http`], which only functions have. [`preview1`] is the one that core modules import. Below both are the things that they are about: [`files`]
//! (what may be done to them), [`listing`], [`inputs`] (DAGs, read lazily), [`tree`] and [`pages`] (what the guest
//! writes), [`resolve`] (paths), [`blocks`] (the enclave's end of it), [`meter`] (what it all costs).
//!
//! Two rules hold throughout. Every answer is a function of the Task alone, never of this host: no host time, no
//! order of arrival, no host errors that a guest could see; functions, which speak with the world, are the one
//! exception. And every host call pays before it works.

pub(crate) mod blocks;
mod chance;
mod files;
mod filesystem;
pub(crate) mod http;
mod inputs;
mod listing;
pub(crate) mod meter;
pub(crate) mod pages;
pub(crate) mod preview1;
pub(crate) mod program;
mod refusals;
mod resolve;
mod stdio;
pub(crate) mod stop;
mod streams;
mod time;
pub(crate) mod tree;

use crate::worker_wire::{Job, MAX_INLINE_OUTPUT, PAGE};
use adit_wire::Channel;
use blocks::Blocks;
use chance::Chance;
use inputs::Inputs;
use meter::Meter;
use preview1::Preview1;
use resolve::Mounts;
use std::sync::Arc;
use stdio::{Log, Stdin};
use stop::Stop;
use time::Clock;
use tree::Tree;
use wasmtime::{ResourceLimiter, component::ResourceTable};

pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "adit:worker/command",
        imports: { default: trappable },
        trappable_error_type: {
            "wasi:io/streams.stream-error" => crate::guest::streams::StreamError,
            "wasi:filesystem/types.error-code" => crate::guest::files::FsError,
        },
        with: {
            "wasi:io/error.error": crate::guest::streams::Failure,
            "wasi:io/poll.pollable": crate::guest::time::Pollable,
            "wasi:io/streams.input-stream": crate::guest::streams::Source,
            "wasi:io/streams.output-stream": crate::guest::streams::Sink,
            "wasi:filesystem/types.descriptor": crate::guest::files::Descriptor,
            "wasi:filesystem/types.directory-entry-stream": crate::guest::filesystem::Entries,
            "wasi:cli/terminal-input.terminal-input": crate::guest::stdio::Terminal,
            "wasi:cli/terminal-output.terminal-output": crate::guest::stdio::Terminal,
        },
    });
}

/// What functions have beside everything in [`bindings`].
pub(crate) mod function_bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "adit:worker/function",
        imports: { default: trappable },
        trappable_error_type: {
            "wasi:http/types.error-code" => crate::guest::http::HttpError,
        },
        with: {
            "wasi:io": crate::guest::bindings::wasi::io,
            "wasi:clocks": crate::guest::bindings::wasi::clocks,
            "wasi:http/types.fields": crate::guest::http::Fields,
            "wasi:http/types.incoming-request": crate::guest::http::IncomingRequest,
            "wasi:http/types.outgoing-request": crate::guest::http::OutgoingRequest,
            "wasi:http/types.request-options": crate::guest::http::RequestOptions,
            "wasi:http/types.response-outparam": crate::guest::http::Outparam,
            "wasi:http/types.incoming-response": crate::guest::http::IncomingResponse,
            "wasi:http/types.incoming-body": crate::guest::http::IncomingBody,
            "wasi:http/types.future-trailers": crate::guest::http::FutureTrailers,
            "wasi:http/types.outgoing-response": crate::guest::http::OutgoingResponse,
            "wasi:http/types.outgoing-body": crate::guest::http::OutgoingBody,
            "wasi:http/types.future-incoming-response": crate::guest::http::FutureResponse,
        },
    });
}

/// Most handles (descriptors, streams, pollables) that a guest may hold.
const MAX_HANDLES: usize = 4096;

/// Most bytes that a host call may copy out of a guest in lists and strings.
pub(crate) const MAX_HOST_CALL: usize = 8 << 20;

/// One job's world.
pub(crate) struct Host {
    pub(crate) table: ResourceTable,
    pub(crate) meter: Meter,
    pub(crate) blocks: Blocks,
    pub(crate) tree: Tree,
    inputs: Inputs,
    mounts: Mounts,
    open_files: usize,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Stdin,
    pub(crate) stdout: Log,
    pub(crate) stderr: Log,
    clock: Clock,
    chance: Chance,
    preview1: Preview1,
    /// The request that it answers, if it is not a job.
    pub(crate) function: Option<Box<http::Function>>,
    limits: Memories,
}

/// The parts that outlive a job: what they cost to make is paid once for each worker.
pub(crate) struct Kept {
    pub(crate) blocks: Blocks,
    pub(crate) tree: Tree,
}

impl Host {
    /// The world of `job`. Gives back what it was made of when the job cannot even begin.
    // Both come back in one piece, once a job: boxing the error would only move the allocation.
    #[allow(clippy::result_large_err)]
    pub(crate) fn new(mut kept: Kept, job: Job, channel: &Arc<Channel>) -> Result<Self, (Kept, Stop)> {
        let quota = u32::try_from(job.limits.output / PAGE).unwrap_or(u32::MAX);
        if quota > kept.tree.pages.room() {
            let detail = format!("the output file has less room than {} bytes", job.limits.output);
            return Err((kept, Stop::Host(detail)));
        }
        let mounts = match Mounts::new(&job.inputs) {
            Ok(mounts) => mounts,
            Err(stop) => return Err((kept, stop)),
        };
        kept.blocks.start(job.pushed);
        kept.tree.reset(quota);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let live = job.live_logs.then_some(channel);
        Ok(Host {
            table,
            meter: Meter::new(job.limits.fuel),
            blocks: kept.blocks,
            tree: kept.tree,
            inputs: Inputs::default(),
            mounts,
            open_files: 0,
            args: job.args,
            env: job.env,
            stdin: Stdin::new(job.stdin),
            stdout: Log::stdout(live.cloned()),
            stderr: Log::stderr(live.cloned()),
            clock: Clock::default(),
            chance: Chance::new(job.seed),
            preview1: Preview1::default(),
            function: None,
            limits: Memories { limit: job.limits.memory, used: 0, running: false, work: 0 },
        })
    }

    pub(crate) fn into_kept(self) -> Kept {
        Kept { blocks: self.blocks, tree: self.tree }
    }

    /// From now on, memory that is refused is refused politely.
    pub(crate) fn running(&mut self) {
        self.limits.running = true;
    }

    pub(crate) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limits
    }

    /// Whether all that was written is small enough to travel inside frames.
    pub(crate) fn output_is_small(&self) -> bool {
        let logs = self.stdout.data.length() + self.stderr.data.length();
        let most = MAX_INLINE_OUTPUT as u64;
        logs <= most && logs + self.tree.bytes(most + 1) <= most
    }

    /// Bytes of linear memory that the guest has come to have.
    pub(crate) fn memory_used(&self) -> u64 {
        self.limits.used
    }

    /// Pays for a host call.
    fn charge(&mut self, bytes: u64) -> Result<(), Stop> {
        self.meter.charge(bytes)
    }
}

/// Holds a job to its memory: all linear memories together.
struct Memories {
    limit: u64,
    used: u64,
    /// Once a guest runs, a refusal is an answer that it can live with; before, it cannot even start.
    running: bool,
    work: u64,
}

impl ResourceLimiter for Memories {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        if self.used.saturating_add(more) > self.limit {
            if self.running {
                return Ok(false);
            }
            let detail = "the program needs more memory to start than the task allows";
            return Err(Stop::limit(crate::fault::LimitKind::Memory, detail).into());
        }
        self.used += more;
        self.work = self.work.saturating_add(more);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= crate::engine::MAX_TABLE_ELEMENTS as usize)
    }

    fn instances(&self) -> usize {
        crate::engine::MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        crate::engine::MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        crate::engine::MAX_MEMORIES as usize
    }
}
