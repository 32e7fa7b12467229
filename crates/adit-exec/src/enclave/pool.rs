//! Workers between jobs.
//!
//! A worker that has run a program for an issuer is kept for the next job of the same two, up to a number of jobs
//! and an age. It never serves another issuer: what a guest might have left behind in it stays with whom it
//! came from. One *spare*, started and jailed for the deterministic profile but without code, stands by for
//! everything else. When no job has come for a while the pool lets all of them go: an idle node keeps no worker.

use super::{
    codes::CodeKey,
    process::{Keeper, Process, Program},
};
use crate::worker_wire::{PAGE, ToWorker};
use adit_model::{AccountId, Profile};
use adit_wire::{
    Channel, Inbox, Message,
    memory::{self, Slots},
    session::MAX_BLOCK,
};
use parking_lot::Mutex;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Blocks in a worker's hands at a time, read-ahead included.
pub(super) const SLOTS: usize = 16;

/// After so many jobs, or so long, a worker makes room for a new one, so that whatever builds up in one is bounded.
const MAX_JOBS: u32 = 10_000;
const MAX_AGE: Duration = Duration::from_secs(600);

/// What the spare is good for: nearly all jobs.
const SPARE: Profile = Profile::Deterministic;

/// What a kept worker can be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Purpose {
    pub(super) code: CodeKey,
    pub(super) issuer: AccountId,
    /// To answer HTTP requests, not to run as a command. Such a worker never comes back.
    pub(super) function: bool,
}

/// A jailed process and what it shares with us. Dropping it kills it.
pub(super) struct Worker {
    pub(super) channel: Channel,
    pub(super) inbox: Inbox,
    pub(super) frame: Vec<u8>,
    pub(super) slots: Slots,
    pub(super) output: OwnedFd,
    pub(super) output_size: u64,
    /// It has said `Ready`.
    pub(super) ready: bool,
    /// Whose code is loaded.
    pub(super) purpose: Option<Purpose>,
    jobs: u32,
    born: Instant,
    _process: Process,
}

impl Worker {
    /// Empties the output file, for the next job to find it as a new one.
    pub(super) fn clear_output(&self) -> io::Result<()> {
        memory::clear(self.output.as_fd(), self.output_size)
    }
}

pub(super) struct Pool {
    keeper: Keeper,
    program: Program,
    /// Most idle workers to keep.
    room: usize,
    output_size: u64,
    idle_time: Duration,
    waiting: Mutex<Waiting>,
    pub(super) started: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    /// With code loaded, the longest idle first.
    warm: Vec<(Worker, Instant)>,
    spare: Option<(Worker, Instant)>,
    /// Set when a spare should be made.
    want_spare: bool,
    /// Whether the keeper will come by itself. It is not woken for every job that ends.
    expected: bool,
}

impl Pool {
    pub(super) fn new(
        keeper: Keeper,
        program: Program,
        room: usize,
        output_size: u64,
        idle_time: Duration,
    ) -> Pool {
        Pool {
            keeper,
            program,
            room,
            // The output file is dealt out in pages.
            output_size: output_size.div_ceil(PAGE) * PAGE,
            idle_time,
            waiting: Mutex::default(),
            started: AtomicU64::new(0),
        }
    }

    /// A worker for this purpose: the one that served it last, or one without code.
    pub(super) fn acquire(&self, purpose: &Purpose) -> io::Result<Worker> {
        let found = {
            let mut waiting = self.waiting.lock();
            // The most recently used has the warmest caches.
            match waiting.warm.iter().rposition(|(worker, _)| worker.purpose.as_ref() == Some(purpose)) {
                Some(index) => Some(waiting.warm.remove(index).0),
                None if purpose.code.profile == SPARE => waiting.spare.take().map(|(worker, _)| worker),
                None => None,
            }
        };
        match found {
            Some(worker) => Ok(worker),
            None => self.start(purpose.code.profile),
        }
    }

    /// Takes a worker back that has finished a job and owes no answer.
    pub(super) fn release(&self, mut worker: Worker) {
        worker.jobs += 1;
        let now = Instant::now();
        let used_up = worker.jobs >= MAX_JOBS || now.duration_since(worker.born) >= MAX_AGE;
        let mut look = false;
        let mut leaving = None;
        {
            let mut waiting = self.waiting.lock();
            if used_up {
                leaving = Some(worker);
            } else {
                if waiting.warm.len() >= self.room {
                    leaving = Some(waiting.warm.remove(0).0);
                }
                waiting.warm.push((worker, now));
            }
            if waiting.spare.is_none() && !waiting.want_spare {
                waiting.want_spare = true;
                look = true;
            }
            look |= !std::mem::replace(&mut waiting.expected, true);
        }
        drop(leaving);
        if look {
            self.keeper.look();
        }
    }

    /// Has a spare made ready, without waiting for it.
    pub(super) fn prepare(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.spare.is_none() && !waiting.want_spare {
            waiting.want_spare = true;
            drop(waiting);
            self.keeper.look();
        }
    }

    /// The keeper's chore: makes the spare that is wanted, lets idle workers go. Says when to come again.
    pub(super) fn tidy(
        &self,
        now: Instant,
        launch: impl FnOnce(&Program, Profile) -> io::Result<(Process, Channel)>,
    ) -> Option<Instant> {
        let wanted = {
            let mut waiting = self.waiting.lock();
            std::mem::take(&mut waiting.want_spare) && waiting.spare.is_none()
        };
        // Started outside of the lock: jobs need not wait for it.
        let spare = wanted.then(|| {
            launch(&self.program, SPARE).and_then(|(process, channel)| self.greet(process, channel)).ok()
        });
        let spare = spare.flatten();
        let mut leaving = Vec::new();
        let mut waiting = self.waiting.lock();
        if let Some(worker) = spare {
            leaving.extend(waiting.spare.replace((worker, now)).map(|(worker, _)| worker));
        }
        let old = |since: &Instant| now.duration_since(*since) >= self.idle_time;
        let count = waiting.warm.partition_point(|(_, since)| old(since));
        leaving.extend(waiting.warm.drain(..count).map(|(worker, _)| worker));
        if waiting.spare.as_ref().is_some_and(|(_, since)| old(since)) {
            // A spare without jobs around it goes as well.
            if waiting.warm.is_empty() {
                leaving.extend(waiting.spare.take().map(|(worker, _)| worker));
            } else if let Some((_, since)) = &mut waiting.spare {
                *since = now;
            }
        }
        let oldest = waiting.warm.iter().chain(&waiting.spare).map(|(_, since)| *since).min();
        waiting.expected = oldest.is_some();
        drop(waiting);
        drop(leaving);
        oldest.map(|since| since + self.idle_time)
    }

    fn start(&self, profile: Profile) -> io::Result<Worker> {
        let (process, channel) = self.keeper.launch(&self.program, profile)?;
        self.greet(process, channel)
    }

    /// Tells a fresh process what it shares with us; its `Ready` is awaited by whoever uses it first.
    fn greet(&self, process: Process, channel: Channel) -> io::Result<Worker> {
        let slots = Slots::create(SLOTS, MAX_BLOCK)?;
        let output = memory::scratch(c"out", self.output_size)?;
        let open =
            ToWorker::Open { slots: SLOTS as u32, slot_size: MAX_BLOCK as u32, output: self.output_size };
        let mut frame = Vec::new();
        open.encode(&mut frame);
        channel.send(&frame, &[slots.file(), output.as_fd()])?;
        self.started.fetch_add(1, Ordering::Relaxed);
        Ok(Worker {
            channel,
            inbox: Inbox::new(),
            frame,
            slots,
            output,
            output_size: self.output_size,
            ready: false,
            purpose: None,
            jobs: 0,
            born: Instant::now(),
            _process: process,
        })
    }
}
