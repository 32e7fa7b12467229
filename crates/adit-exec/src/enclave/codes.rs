//! Machine code that this enclave compiled, in memory only.
//!
//! The key is the program's CID and the profile it is compiled for: all code here is from one build of the engine, so
//! nothing else about the engine need be part of it. What comes from a peer or from disk never gets in: loading machine code is trusting
//! it. Two jobs that need the same program at the same time share one compilation.

use super::recent::Recent;
use crate::fault::CodeFault;
use adit_model::Profile;
use adit_wire::channel::check;
use cid::Cid;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a program that could not be compiled in time is not tried again: a requester could otherwise keep a
/// core busy with refusals.
const TOO_SLOW_FOR: Duration = Duration::from_secs(60);

/// What an entry costs beside its bytes, so that many small ones are bounded too.
const ENTRY_COST: u64 = 1 << 10;

/// Names machine code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct CodeKey {
    pub(super) code: Cid,
    pub(super) profile: Profile,
}

/// Machine code in a sealed memory file.
pub(super) struct Code {
    pub(super) file: OwnedFd,
    pub(super) length: u64,
    pub(super) kind: CodeKind,
}

/// What a WebAssembly binary is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CodeKind {
    Module,
    Component,
}

/// What compiling came to.
#[derive(Clone)]
pub(super) enum Compiled {
    Code(Arc<Code>),
    /// The code's own fault: the same everywhere.
    Fault(CodeFault),
    /// This host gave up.
    TooSlow {
        until: Instant,
        detail: String,
    },
}

pub(super) enum Lookup {
    Found(Compiled),
    /// Somebody is at it. Look again once the notice is readable.
    Wait(Arc<Notice>),
    /// It is yours to do.
    Lead(Lead),
}

pub(super) struct Codes {
    state: Mutex<State>,
    budget: u64,
}

struct State {
    entries: Recent<CodeKey, Compiled>,
    bytes: u64,
    under_way: HashMap<CodeKey, Arc<Notice>>,
}

impl Codes {
    /// Keeps up to `budget` bytes of machine code.
    pub(super) fn new(budget: u64) -> Arc<Self> {
        let state = State { entries: Recent::new(), bytes: 0, under_way: HashMap::new() };
        Arc::new(Codes { state: Mutex::new(state), budget })
    }

    pub(super) fn look_up(self: &Arc<Self>, key: &CodeKey) -> io::Result<Lookup> {
        let mut state = self.state.lock();
        match state.entries.get(key) {
            Some(Compiled::TooSlow { until, .. }) if *until <= Instant::now() => state.remove(key),
            Some(found) => return Ok(Lookup::Found(found.clone())),
            None => {}
        }
        if let Some(notice) = state.under_way.get(key) {
            return Ok(Lookup::Wait(notice.clone()));
        }
        let notice = Arc::new(Notice::new()?);
        state.under_way.insert(*key, notice.clone());
        Ok(Lookup::Lead(Lead { codes: self.clone(), key: *key, notice }))
    }

    /// Replaces code that turned out not to be usable.
    pub(super) fn refuse(&self, key: &CodeKey, fault: CodeFault) {
        let mut state = self.state.lock();
        state.remove(key);
        let fault = Compiled::Fault(fault);
        state.bytes += cost(&fault);
        state.entries.insert(*key, fault);
    }

    /// Programs and bytes that are kept.
    pub(super) fn size(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.entries.len() as u64, state.bytes)
    }
}

impl State {
    fn remove(&mut self, key: &CodeKey) {
        if let Some(old) = self.entries.remove(key) {
            self.bytes -= cost(&old);
        }
    }
}

fn cost(entry: &Compiled) -> u64 {
    ENTRY_COST + if let Compiled::Code(code) = entry { code.length } else { 0 }
}

/// The duty to compile. Dropped unfulfilled, it passes to whoever waits.
pub(super) struct Lead {
    codes: Arc<Codes>,
    key: CodeKey,
    notice: Arc<Notice>,
}

impl Lead {
    /// Keeps the result, and returns the programs whose machine code had to go.
    pub(super) fn finish(self, compiled: Compiled) -> Vec<CodeKey> {
        let mut state = self.codes.state.lock();
        state.remove(&self.key);
        state.bytes += cost(&compiled);
        state.entries.insert(self.key, compiled);
        let mut gone = Vec::new();
        // The newest stays, even alone above the budget: somebody is about to use it.
        while state.bytes > self.codes.budget && state.entries.len() > 1 {
            let Some((key, entry)) = state.entries.remove_oldest() else { break };
            state.bytes -= cost(&entry);
            if matches!(entry, Compiled::Code(_)) {
                gone.push(key);
            }
        }
        gone
    }

    pub(super) fn too_slow(detail: String) -> Compiled {
        Compiled::TooSlow { until: Instant::now() + TOO_SLOW_FOR, detail }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.codes.state.lock().under_way.remove(&self.key);
        self.notice.ring();
    }
}

/// An event descriptor that becomes readable once, for everyone who waits.
pub(super) struct Notice {
    event: OwnedFd,
}

impl Notice {
    fn new() -> io::Result<Self> {
        // SAFETY: a successful call returns a descriptor that nobody else owns.
        let event = unsafe { OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC))?) };
        Ok(Notice { event })
    }

    fn ring(&self) {
        let one = 1_u64;
        // SAFETY: eight bytes, which outlive the call. It cannot fail: nobody adds up to 2^64.
        unsafe { libc::write(self.event.as_raw_fd(), (&raw const one).cast(), 8) };
    }
}

impl AsFd for Notice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{enclave::wait, fault::CodeFaultKind};
    use adit_unixfs::Block;
    use adit_wire::memory;

    fn key(number: u8) -> CodeKey {
        let code = Block::new(adit_unixfs::block::RAW, vec![number]).cid;
        CodeKey { code, profile: Profile::Deterministic }
    }

    fn code(length: u64) -> Compiled {
        let file = memory::sealed(c"test", b"code").unwrap();
        Compiled::Code(Arc::new(Code { file, length, kind: CodeKind::Module }))
    }

    fn lead(codes: &Arc<Codes>, number: u8) -> Lead {
        match codes.look_up(&key(number)).unwrap() {
            Lookup::Lead(lead) => lead,
            _ => panic!("nobody has compiled {number} yet"),
        }
    }

    #[test]
    fn one_compiles_and_the_others_wait_for_the_notice() {
        let codes = Codes::new(1 << 20);
        let first = lead(&codes, 1);
        let Lookup::Wait(notice) = codes.look_up(&key(1)).unwrap() else { panic!("it is under way") };
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(wait::readable([notice.as_fd()], soon).unwrap(), [false]);
        assert!(first.finish(code(10)).is_empty());
        let later = Instant::now() + Duration::from_secs(5);
        assert_eq!(wait::readable([notice.as_fd()], later).unwrap(), [true]);
        assert!(matches!(codes.look_up(&key(1)).unwrap(), Lookup::Found(Compiled::Code(_))));
    }

    #[test]
    fn a_lead_that_gives_up_passes_the_duty_on() {
        let codes = Codes::new(1 << 20);
        let first = lead(&codes, 1);
        let Lookup::Wait(notice) = codes.look_up(&key(1)).unwrap() else { panic!("it is under way") };
        drop(first);
        let later = Instant::now() + Duration::from_secs(5);
        assert_eq!(wait::readable([notice.as_fd()], later).unwrap(), [true]);
        drop(lead(&codes, 1));
    }

    #[test]
    fn the_least_recently_used_code_leaves_when_the_budget_is_spent() {
        let codes = Codes::new(100_000);
        assert!(lead(&codes, 1).finish(code(40_000)).is_empty());
        assert!(lead(&codes, 2).finish(code(40_000)).is_empty());
        assert!(matches!(codes.look_up(&key(1)).unwrap(), Lookup::Found(_)));
        assert_eq!(lead(&codes, 3).finish(code(40_000)), [key(2)]);
        assert_eq!(codes.size(), (2, 80_000 + 2 * ENTRY_COST));
        assert_eq!(lead(&codes, 4).finish(code(1 << 30)).len(), 2, "the newest stays, even if too large");
    }

    #[test]
    fn faults_are_kept_and_slowness_only_for_a_while() {
        let codes = Codes::new(1 << 20);
        let fault = CodeFault::new(CodeFaultKind::Invalid, "not WebAssembly");
        lead(&codes, 1).finish(Compiled::Fault(fault));
        assert!(matches!(codes.look_up(&key(1)).unwrap(), Lookup::Found(Compiled::Fault(_))));
        lead(&codes, 2).finish(Lead::too_slow("slow".into()));
        assert!(matches!(codes.look_up(&key(2)).unwrap(), Lookup::Found(Compiled::TooSlow { .. })));
        lead(&codes, 3).finish(Compiled::TooSlow { until: Instant::now(), detail: String::new() });
        drop(lead(&codes, 3));
    }
}
