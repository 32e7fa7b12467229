//! Outcomes that this enclave computed itself and need not compute again.
//!
//! Only of its own work, only of programs that ended by themselves, only of deterministic, public tasks: for
//! these, and for nothing else, running again would give the same bytes. The caller sees to all four.

use super::recent::Recent;
use adit_model::{OutcomeCid, TaskCid};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// An outcome as its block.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) outcome: Bytes,
    pub(super) cid: OutcomeCid,
    pub(super) fuel: u64,
}

/// The most recently used outcomes. With room for none it remembers nothing.
pub(super) struct Memory {
    outcomes: Mutex<Recent<TaskCid, Arc<Remembered>>>,
    room: usize,
}

impl Memory {
    pub(super) fn new(room: u32) -> Self {
        Memory { outcomes: Mutex::new(Recent::new()), room: room as usize }
    }

    pub(super) fn recall(&self, task: &TaskCid) -> Option<Arc<Remembered>> {
        self.outcomes.lock().get(task).cloned()
    }

    pub(super) fn remember(&self, task: TaskCid, outcome: Remembered) {
        let mut outcomes = self.outcomes.lock();
        outcomes.insert(task, Arc::new(outcome));
        if outcomes.len() > self.room {
            outcomes.remove_oldest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u8) -> TaskCid {
        TaskCid::of_block(&[number])
    }

    fn outcome(number: u8) -> Remembered {
        let block = [number, 1];
        Remembered { outcome: block.to_vec().into(), cid: OutcomeCid::of_block(&block), fuel: 1 }
    }

    #[test]
    fn the_least_recently_used_is_forgotten_first() {
        let memory = Memory::new(2);
        memory.remember(task(1), outcome(1));
        memory.remember(task(2), outcome(2));
        assert!(memory.recall(&task(1)).is_some());
        memory.remember(task(3), outcome(3));
        assert_eq!(memory.recall(&task(1)).map(|found| found.outcome[0]), Some(1));
        assert!(memory.recall(&task(2)).is_none());
    }

    #[test]
    fn room_for_none_remembers_none() {
        let memory = Memory::new(0);
        memory.remember(task(1), outcome(1));
        assert!(memory.recall(&task(1)).is_none());
    }
}
