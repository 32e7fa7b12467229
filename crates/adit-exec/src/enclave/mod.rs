//! The trusted half: what the process `adit-enclave` does.
//!
//! One thread reads the control channel; it is the program's main thread and ends everything when the node goes away.
//! One, the *keeper* (`process.rs`), starts and reaps processes and tidies the pool. One per session (`session.rs`)
//! runs that session's jobs, one at a time, and drives the job's worker itself. They share [`Enclave`]: the job key,
//! the pool of workers, the machine code, what is remembered; each is behind a lock of its own that is never
//! held while something is waited for.
//!
//! Who is trusted with what: the *node* brings blocks, and every block is verified here, once, where the worker will
//! read it (`program.rs::check`); the node can fail to deliver, never forge. The *worker* runs a stranger's
//! program: it gets blocks only by right (`rights.rs`), its messages are checked like a stranger's, and it is ended by
//! pidfd the moment its time is up, the job is cancelled, or it says something that makes no sense. The *compiler* is
//! jailed likewise, one process per program; the machine code that it returns is the one thing that is believed.
//!
//! What the enclave never does: open a network socket, hold a key of the node, write to disk, or wait without a
//! deadline for a process that runs a guest.
//!
//! Start reading at [`serve`], then `session.rs` and `job.rs`.

mod codes;
mod control;
mod job;
mod link;
mod outputs;
mod pool;
mod process;
mod program;
mod receipts;
mod recent;
mod remember;
mod rights;
mod serve;
mod session;
mod wait;

pub use control::{ControlError, serve};
pub use process::{Program, Programs};
pub use receipts::EndorseError;

use adit_wire::{
    Channel, Message,
    control::{FromEnclave, Hello, Stats},
};
use codes::{CodeKey, Codes};
use pool::Pool;
use process::Keeper;
use receipts::Signer;
use remember::Memory;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What all threads share.
pub(crate) struct Enclave {
    hello: Hello,
    programs: Programs,
    keeper: Keeper,
    pool: Arc<Pool>,
    codes: Arc<Codes>,
    memory: Memory,
    signer: Signer,
    control: Arc<Channel>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    sessions: AtomicU64,
    jobs: AtomicU64,
    remembered: AtomicU64,
    failed: AtomicU64,
    compiled: AtomicU64,
    compile_failed: AtomicU64,
    blocks_verified: AtomicU64,
    bytes_verified: AtomicU64,
    blocks_refused: AtomicU64,
}

impl Enclave {
    fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let (codes_cached, code_bytes) = self.codes.size();
        let (workers_started, workers_alive) = (read(&self.pool.started), self.keeper.alive());
        Stats {
            sessions: read(&counters.sessions),
            jobs: read(&counters.jobs),
            remembered_jobs: read(&counters.remembered),
            failed_jobs: read(&counters.failed),
            compiled: read(&counters.compiled),
            compile_failed: read(&counters.compile_failed),
            workers_started,
            workers_ended: self.keeper.ended(),
            workers_alive,
            codes_cached,
            code_bytes,
            blocks_verified: read(&counters.blocks_verified),
            bytes_verified: read(&counters.bytes_verified),
            blocks_refused: read(&counters.blocks_refused),
        }
    }

    /// Tells the node which machine code came and went. It is for estimates only, so it never waits: when the node
    /// does not read its control channel, the notice is lost.
    fn report_codes(&self, added: Option<CodeKey>, gone: &[CodeKey]) {
        let mut frame = Vec::new();
        let notices = gone.iter().map(|key| (key, false)).chain(added.iter().map(|key| (key, true)));
        for (key, cached) in notices {
            FromEnclave::Code { code: key.code, cached }.encode(&mut frame);
            let _ = self.control.try_send(&frame, &[]);
        }
    }

    /// One line on standard error, which the node collects. Never anything that a guest or a peer wrote.
    fn complain(&self, what: &str, error: &dyn std::error::Error) {
        eprintln!("adit-enclave: {what}: {error}");
    }
}
