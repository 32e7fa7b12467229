//! Clocks that tell nothing about the host, and waiting that takes no time.
//!
//! The monotonic clock counts: each question costs a microsecond of it. Waiting for a moment advances it to that
//! moment, if nothing else is ready. The wall clock stands at the epoch, always: what a program computes
//! must not depend on when it was run.

// `bindgen!` re-exports the types that stand for resources, which it can only do with public ones.
#![expect(unreachable_pub)]

use super::stop::Stop;
use super::{
    Host,
    bindings::wasi::{
        clocks::{monotonic_clock, wall_clock},
        io::poll,
    },
};
use crate::fault::LimitKind;
use wasmtime::{Result, component::Resource};

/// Nanoseconds that one look at the clock takes.
pub(crate) const TICK: u64 = 1_000;

/// Most pollables in one call; more make no sense with so few things to wait for.
pub(crate) const MAX_POLLED: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Clock {
    pub(super) now: u64,
}

impl Clock {
    pub(crate) fn tick(&mut self) -> u64 {
        self.now = self.now.saturating_add(TICK);
        self.now
    }

    /// The moment `duration` from now.
    pub(crate) fn after(&self, duration: u64) -> u64 {
        self.now.saturating_add(duration)
    }

    /// It is at least so late.
    pub(crate) fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// Waits for the first of these moments, and tells what time it is then.
    pub(crate) fn wait(&mut self, moments: impl Iterator<Item = u64>) -> u64 {
        self.now = self.now.max(moments.min().unwrap_or(0));
        self.now
    }
}

/// Something to wait for. Streams over files are always ready: their calls wait for themselves.
#[derive(Debug, Clone, Copy)]
pub struct Pollable {
    pub(crate) from: u64,
    pub(crate) on: On,
}

/// What a pollable waits for besides a moment. A job's guest never has anything but `Nothing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Nothing,
    /// The next piece of this body.
    Body(u32),
    /// The response to this exchange.
    Response(u32),
}

impl Pollable {
    pub(crate) const READY: Pollable = Pollable { from: 0, on: On::Nothing };

    pub(crate) const fn of(on: On) -> Pollable {
        Pollable { from: 0, on }
    }
}

impl monotonic_clock::Host for Host {
    fn now(&mut self) -> Result<u64> {
        self.charge(0)?;
        Ok(self.clock.tick())
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(TICK)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<Pollable>> {
        self.charge(0)?;
        self.handle(Pollable { from: when, on: On::Nothing })
    }

    fn subscribe_duration(&mut self, duration: u64) -> Result<Resource<Pollable>> {
        self.subscribe_instant(self.clock.after(duration))
    }
}

impl wall_clock::Host for Host {
    fn now(&mut self) -> Result<wall_clock::Datetime> {
        self.charge(0)?;
        if let Some(function) = &self.function {
            let now = function.wall(self.clock.now);
            let (seconds, nanoseconds) = (now / 1_000_000_000, (now % 1_000_000_000) as u32);
            return Ok(wall_clock::Datetime { seconds, nanoseconds });
        }
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: 0 })
    }

    fn resolution(&mut self) -> Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 1, nanoseconds: 0 })
    }
}

impl poll::Host for Host {
    fn poll(&mut self, waited: Vec<Resource<Pollable>>) -> Result<Vec<u32>> {
        self.charge(waited.len() as u64 * 16)?;
        if waited.is_empty() || waited.len() > MAX_POLLED {
            return Err(Stop::limit(LimitKind::Resources, "polling nothing, or too many things").into());
        }
        if self.function.is_some() {
            let waited = waited.iter().map(|pollable| Ok(*self.table.get(pollable)?));
            let waited = waited.collect::<Result<Vec<Pollable>>>()?;
            return self.wait_for_any(&waited);
        }
        let from = waited.iter().map(|pollable| Ok(self.table.get(pollable)?.from));
        let from = from.collect::<Result<Vec<u64>>>()?;
        let now = self.clock.wait(from.iter().copied());
        Ok((0..).zip(&from).filter(|(_, from)| **from <= now).map(|(index, _)| index).collect())
    }
}

impl poll::HostPollable for Host {
    fn ready(&mut self, pollable: Resource<Pollable>) -> Result<bool> {
        self.charge(0)?;
        let Pollable { from, on } = *self.table.get(&pollable)?;
        if on != On::Nothing {
            return self.look_at(on);
        }
        // Whoever asks in a loop gets there.
        Ok(self.clock.tick() >= from)
    }

    fn block(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.charge(0)?;
        let pollable = *self.table.get(&pollable)?;
        if self.function.is_some() {
            return self.wait_for_any(&[pollable]).map(drop);
        }
        self.clock.wait(std::iter::once(pollable.from));
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.table.delete(pollable)?;
        Ok(())
    }
}
