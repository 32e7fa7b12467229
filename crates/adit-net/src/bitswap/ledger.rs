//! What one connection's peer wants from us, and what to say next: pure state, no I/O.
//!
//! A want passes through these states:
//!
//! ```text
//!  fresh ──lookups──▶ looking ──resolved──▶ ready ──plan──▶ (gone: answered)
//!    ▲                          └─absent──▶ waiting, and DONT_HAVE is said once if asked for
//!    └────────────arrived─────────────────────┘
//! ```
//!
//! so that nothing is loaded before it is planned into a message, and a block that arrives later
//! still reaches the peer. Ledgers belong to a connection, not to a peer: with the connection, the
//! peer forgets what it asked.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use cid::Cid;

use super::{
    config::{MAX_BLOCK, MAX_MESSAGE_OUT, SMALL_BLOCK},
    wire::{Entry, WantKind},
};

/// Absent blocks remembered for a peer; the oldest are forgotten first.
const MAX_WAITING: usize = 1024;
/// Lines of one answer.
const MAX_LINES: usize = 4096;
/// What a block's line costs beside its data: tags, lengths, prefix.
const BLOCK_LINE: usize = 64;

/// Highest priority first, then the order of asking.
type Order = (Reverse<i32>, u64);

#[derive(Debug)]
struct Want {
    order: Order,
    kind: WantKind,
    send_dont_have: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Looking,
    Ready(usize),
    Waiting,
}

/// The next message, before its blocks are loaded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) blocks: Vec<(Cid, usize)>,
    pub(crate) haves: Vec<Cid>,
    pub(crate) dont_haves: Vec<Cid>,
}

impl Plan {
    /// Bytes that loading its blocks takes.
    pub(crate) fn load(&self) -> usize {
        self.blocks.iter().map(|(_, size)| size).sum()
    }
}

/// The books of one connection.
#[derive(Debug)]
pub(crate) struct Ledger {
    max_wants: usize,
    wants: HashMap<Cid, Want>,
    fresh: BTreeMap<Order, Cid>,
    ready: BTreeMap<Order, Cid>,
    /// By the order of asking alone: the oldest are forgotten first.
    waiting: BTreeMap<u64, Cid>,
    dont_haves: BTreeSet<Cid>,
    next: u64,
}

impl Ledger {
    pub(crate) fn new(max_wants: usize) -> Self {
        Self {
            max_wants,
            wants: HashMap::new(),
            fresh: BTreeMap::new(),
            ready: BTreeMap::new(),
            waiting: BTreeMap::new(),
            dont_haves: BTreeSet::new(),
            next: 0,
        }
    }

    /// Takes a wantlist message; `full` replaces what was wanted before.
    pub(crate) fn apply(&mut self, entries: impl IntoIterator<Item = Entry>, full: bool) {
        if full {
            *self = Self::new(self.max_wants);
        }
        for entry in entries {
            let before = self.remove(&entry.cid);
            if entry.cancel {
                continue;
            }
            if self.wants.len() >= self.max_wants {
                // Said openly, so that an honest peer asks elsewhere instead of waiting.
                if entry.send_dont_have && self.dont_haves.len() < self.max_wants {
                    self.dont_haves.insert(entry.cid);
                }
                continue;
            }
            // A repeated want is looked up again: the peer may have lost our answer. A want for
            // the block outlives one for its presence.
            let kind = match before {
                Some(Want { kind: WantKind::Block, .. }) => WantKind::Block,
                _ => entry.kind,
            };
            let order = (Reverse(entry.priority), self.next);
            self.next += 1;
            self.fresh.insert(order, entry.cid);
            let want = Want { order, kind, send_dont_have: entry.send_dont_have, state: State::Fresh };
            self.wants.insert(entry.cid, want);
        }
    }

    /// The next wants to look up in the store, at most `count`.
    pub(crate) fn lookups(&mut self, count: usize) -> Vec<Cid> {
        let mut cids = Vec::new();
        while cids.len() < count
            && let Some((_, cid)) = self.fresh.pop_first()
        {
            if let Some(want) = self.wants.get_mut(&cid) {
                want.state = State::Looking;
                cids.push(cid);
            }
        }
        cids
    }

    /// Notes the result of a lookup: the block's size, or that the store lacks it.
    pub(crate) fn resolved(&mut self, cid: &Cid, size: Option<u64>) {
        let Some(want) = self.wants.get_mut(cid) else { return };
        if want.state != State::Looking {
            return;
        }
        let size = size.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
        match size {
            Some(size) if size <= MAX_BLOCK => {
                want.state = State::Ready(size);
                self.ready.insert(want.order, *cid);
            }
            // Too large for any message: as good as absent.
            Some(_) => {
                if want.send_dont_have {
                    self.dont_haves.insert(*cid);
                }
                self.wants.remove(cid);
            }
            None => {
                want.state = State::Waiting;
                self.waiting.insert(want.order.1, *cid);
                if want.send_dont_have {
                    self.dont_haves.insert(*cid);
                }
                if self.waiting.len() > MAX_WAITING
                    && let Some((_, oldest)) = self.waiting.pop_first()
                {
                    self.remove(&oldest);
                }
            }
        }
    }

    /// A block came into the store; true if the peer waits for it.
    pub(crate) fn arrived(&mut self, cid: &Cid) -> bool {
        let Some(want) = self.wants.get_mut(cid) else { return false };
        if want.state != State::Waiting {
            return false;
        }
        want.state = State::Fresh;
        // What is known to be there need not be denied any more.
        self.dont_haves.remove(cid);
        self.waiting.remove(&want.order.1);
        self.fresh.insert(want.order, *cid);
        true
    }

    /// Looks up everything that waits once more: arrivals may have been missed.
    pub(crate) fn recheck(&mut self) {
        for cid in std::mem::take(&mut self.waiting).into_values() {
            if let Some(want) = self.wants.get_mut(&cid) {
                want.state = State::Fresh;
                // The peer was told already, or will be in the next message.
                want.send_dont_have = false;
                self.fresh.insert(want.order, cid);
            }
        }
    }

    pub(crate) fn has_lookups(&self) -> bool {
        !self.fresh.is_empty()
    }

    pub(crate) fn has_answers(&self) -> bool {
        !self.ready.is_empty() || !self.dont_haves.is_empty()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wants.is_empty()
    }

    /// The next answer: at most [`MAX_MESSAGE_OUT`] bytes or one block. What it contains is
    /// settled, the peer has to ask again if it is lost.
    pub(crate) fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        let mut size = 0;
        while let Some(cid) = self.dont_haves.pop_first() {
            plan.dont_haves.push(cid);
            size += cid.encoded_len() + 8;
            if plan.dont_haves.len() >= MAX_LINES {
                return plan;
            }
        }
        while let Some((order, cid)) = self.ready.first_key_value().map(|(o, c)| (*o, *c)) {
            let Some(Want { kind, state: State::Ready(len), .. }) = self.wants.get(&cid) else {
                self.ready.remove(&order);
                continue;
            };
            let as_block = *kind == WantKind::Block || *len <= SMALL_BLOCK;
            let cost = if as_block { len + BLOCK_LINE } else { cid.encoded_len() + 8 };
            let lines = plan.blocks.len() + plan.haves.len();
            if (size > 0 && size + cost > MAX_MESSAGE_OUT) || lines >= MAX_LINES {
                break;
            }
            size += cost;
            if as_block {
                plan.blocks.push((cid, *len));
            } else {
                plan.haves.push(cid);
            }
            self.ready.remove(&order);
            self.wants.remove(&cid);
        }
        plan
    }

    fn remove(&mut self, cid: &Cid) -> Option<Want> {
        let want = self.wants.remove(cid)?;
        match want.state {
            State::Fresh => self.fresh.remove(&want.order),
            State::Ready(_) => self.ready.remove(&want.order),
            State::Waiting => self.waiting.remove(&want.order.1),
            State::Looking => None,
        };
        self.dont_haves.remove(cid);
        Some(want)
    }
}

#[cfg(test)]
mod tests;
