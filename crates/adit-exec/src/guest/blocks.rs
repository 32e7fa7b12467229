//! The worker's view of blocks: asks for them, keeps the last few, asks ahead.

use super::stop::Stop;
use crate::worker_wire::{FromWorker, MAX_WANTS, Refusal, ToWorker, Want};
use adit_wire::{Channel, Inbox, Message, memory::Mapping};
use bytes::Bytes;
use cid::Cid;
use std::{collections::HashMap, sync::Arc};

/// Multihash code of the identity "hash": the digest is the block.
const IDENTITY: u64 = 0;

#[derive(Clone, Copy)]
enum Slot {
    Free,
    Asked(Cid),
    Full(Cid, u32),
    /// It was asked ahead and will not come. Only whoever really reads it is told.
    Refused(Cid, Refusal),
}

pub(crate) struct Blocks {
    channel: Arc<Channel>,
    inbox: Inbox,
    frame: Vec<u8>,
    memory: Mapping,
    slot_size: usize,
    slots: Vec<Slot>,
    /// When each slot was last used: the oldest goes first.
    used: Vec<u64>,
    clock: u64,
    index: HashMap<Cid, usize>,
    asked: usize,
    /// The enclave said something that makes no sense: nothing that it says can be trusted to end a job properly.
    confused: bool,
    pushed: HashMap<Cid, Bytes>,
    pub(crate) blocks_read: u64,
    pub(crate) bytes_read: u64,
}

impl Blocks {
    pub(crate) fn new(channel: Arc<Channel>, memory: Mapping, slot_size: usize) -> Self {
        let count = memory.bytes().len() / slot_size;
        Blocks {
            channel,
            inbox: Inbox::new(),
            frame: Vec::new(),
            memory,
            slot_size,
            slots: vec![Slot::Free; count],
            used: vec![0; count],
            clock: 0,
            index: HashMap::new(),
            asked: 0,
            confused: false,
            pushed: HashMap::new(),
            blocks_read: 0,
            bytes_read: 0,
        }
    }

    /// Forgets the previous job, which has [settled](Blocks::settle).
    pub(crate) fn start(&mut self, pushed: Vec<(Cid, Bytes)>) {
        if !self.index.is_empty() {
            self.slots.fill(Slot::Free);
            self.index.clear();
        }
        self.blocks_read = pushed.len() as u64;
        self.bytes_read = pushed.iter().map(|(_, block)| block.len() as u64).sum();
        self.pushed = pushed.into_iter().collect();
    }

    /// Waits for what was asked ahead and never read: `Done` must be the last word about a job, or late
    /// answers would be taken for part of the next.
    pub(crate) fn settle(&mut self) -> Result<(), Stop> {
        while self.asked > 0 && !self.confused {
            self.answer()?;
        }
        if self.confused { Err(Stop::Host("the enclave's answers make no sense".into())) } else { Ok(()) }
    }

    /// Most blocks worth asking for ahead of the one being read.
    pub(crate) fn window(&self) -> usize {
        (self.slots.len() / 2).min(MAX_WANTS / 2)
    }

    /// The block's bytes, verified by the enclave. `ahead` is what will probably be read next, soonest first; it
    /// is asked for in batches, so that a scan costs one message per half window.
    pub(crate) fn get<'a>(&'a mut self, cid: &'a Cid, ahead: &[Cid]) -> Result<&'a [u8], Stop> {
        if cid.hash().code() == IDENTITY {
            return Ok(cid.hash().digest());
        }
        if self.pushed.contains_key(cid) {
            return Ok(&self.pushed[cid]);
        }
        self.ask(cid, ahead)?;
        loop {
            let Some(slot) = self.index.get(cid).copied() else {
                return Err(Stop::Host("no slot is free for a block".into()));
            };
            match self.slots[slot] {
                Slot::Full(_, length) => {
                    self.clock += 1;
                    self.used[slot] = self.clock;
                    let start = slot * self.slot_size;
                    return Ok(&self.memory.bytes()[start..start + length as usize]);
                }
                Slot::Refused(_, why) => return Err(Stop::refused(cid, why)),
                _ => self.answer()?,
            }
        }
    }

    /// Sends wants for the block itself, if it is not here, and for what comes after it, if that is due.
    fn ask(&mut self, cid: &Cid, ahead: &[Cid]) -> Result<(), Stop> {
        let here = self.index.contains_key(cid);
        let missing = ahead.iter().filter(|cid| !self.known(cid)).count();
        if here && missing <= self.window() / 2 && (missing == 0 || missing < ahead.len()) {
            return Ok(());
        }
        let mut wants = Vec::with_capacity(missing + 1);
        let mut keep = self.index.get(cid).copied();
        if !here {
            let Some(slot) = self.reserve(*cid, None) else { return Ok(()) };
            wants.push(Want { cid: *cid, slot: slot as u32 });
            keep = Some(slot);
        }
        for next in ahead.iter().take(self.window()) {
            if self.known(next) {
                continue;
            }
            let Some(slot) = self.reserve(*next, keep) else { break };
            wants.push(Want { cid: *next, slot: slot as u32 });
        }
        if wants.is_empty() {
            return Ok(());
        }
        FromWorker::Want(wants).encode(&mut self.frame);
        self.channel.send(&self.frame, &[]).map_err(hung_up)
    }

    fn known(&self, cid: &Cid) -> bool {
        self.index.contains_key(cid) || self.pushed.contains_key(cid) || cid.hash().code() == IDENTITY
    }

    /// Takes the slot that was used longest ago, but never one that is being filled, or `keep`.
    fn reserve(&mut self, cid: Cid, keep: Option<usize>) -> Option<usize> {
        let free = |slot: &usize| Some(*slot) != keep && !matches!(self.slots[*slot], Slot::Asked(_));
        let slot = (0..self.slots.len()).filter(free).min_by_key(|slot| match self.slots[*slot] {
            Slot::Free => 0,
            _ => self.used[*slot],
        })?;
        if let Slot::Full(old, _) | Slot::Refused(old, _) = self.slots[slot] {
            self.index.remove(&old);
        }
        self.clock += 1;
        self.used[slot] = self.clock;
        self.slots[slot] = Slot::Asked(cid);
        self.index.insert(cid, slot);
        self.asked += 1;
        Some(slot)
    }

    /// Takes one answer.
    fn answer(&mut self) -> Result<(), Stop> {
        let taken = self.take_answer();
        self.confused |= taken.is_err();
        taken
    }

    fn take_answer(&mut self) -> Result<(), Stop> {
        let frame = self.channel.receive(&mut self.inbox).map_err(hung_up)?;
        let Some(frame) = frame else { return Err(Stop::Host("the enclave hung up".into())) };
        let message = ToWorker::decode(frame.bytes, frame.descriptors.len());
        let (slot, answer) = match message {
            Ok(ToWorker::Have { slot, length }) => (slot as usize, Ok(length)),
            Ok(ToWorker::Refused { slot, why }) => (slot as usize, Err(why)),
            Ok(_) => return Err(Stop::Host("the enclave answered something else".into())),
            Err(error) => return Err(Stop::Host(format!("malformed frame: {error}"))),
        };
        let Some(Slot::Asked(cid)) = self.slots.get(slot).copied() else {
            return Err(Stop::Host("the enclave answered what nobody asked".into()));
        };
        self.asked -= 1;
        self.slots[slot] = match answer {
            Ok(length) if length as usize <= self.slot_size => {
                self.blocks_read += 1;
                self.bytes_read += u64::from(length);
                Slot::Full(cid, length)
            }
            Ok(_) => return Err(Stop::Host("a block is longer than its slot".into())),
            Err(why) => Slot::Refused(cid, why),
        };
        Ok(())
    }
}

fn hung_up(error: std::io::Error) -> Stop {
    Stop::Host(format!("the enclave cannot be reached: {error}"))
}
