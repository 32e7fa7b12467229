//! Who runs next: job slots, with memory and scratch space, given out in the order of asking.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::host::{Load, Need, Refusal, Rules};
use adit_model::{AccountId, Task};

/// The slots of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    rules: Rules,
    /// Everything accepted, running or waiting.
    promised: Load,
    running: Load,
    waiting: VecDeque<(Need, oneshot::Sender<()>)>,
}

/// A job's place among those accepted. Dropping it gives the place, and the slot if it had come
/// to have one, to the next.
#[derive(Debug)]
pub(crate) struct Place {
    slots: Slots,
    need: Need,
    started: bool,
    turn: Option<oneshot::Receiver<()>>,
}

impl Slots {
    /// Slots under these rules.
    pub(crate) fn new(rules: Rules) -> Self {
        let state =
            State { rules, promised: Load::default(), running: Load::default(), waiting: VecDeque::new() };
        Slots { state: Arc::new(Mutex::new(state)) }
    }

    /// Admits a job by the rules and what is taken now.
    pub(crate) fn admit(
        &self,
        issuer: &AccountId,
        task: &Task,
        wall_ms: u64,
        unix_seconds: u64,
    ) -> Result<Place, Refusal> {
        let mut state = self.state.lock();
        let need = state.rules.admit(issuer, task, wall_ms, &state.promised, unix_seconds)?;
        state.promised.add(&need);
        let at_once = state.waiting.is_empty() && state.rules.can_start(&need, &state.running);
        let turn = if at_once {
            state.running.add(&need);
            None
        } else {
            let (tell, turn) = oneshot::channel();
            state.waiting.push_back((need, tell));
            Some(turn)
        };
        Ok(Place { slots: self.clone(), need, started: at_once, turn })
    }

    /// The rules' verdict without taking a place: for bids.
    pub(crate) fn would_admit(
        &self,
        issuer: &AccountId,
        task: &Task,
        wall_ms: u64,
        unix_seconds: u64,
    ) -> Result<u32, Refusal> {
        let state = self.state.lock();
        state.rules.admit(issuer, task, wall_ms, &state.promised, unix_seconds)?;
        Ok((state.promised.jobs + 1).saturating_sub(state.rules.slots()) as u32)
    }

    /// Running and waiting jobs.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.running.jobs, state.promised.jobs - state.running.jobs)
    }
}

impl State {
    /// Starts those whose turn it is. Strictly in order: a big job is not passed for ever by
    /// small ones.
    fn start_next(&mut self) {
        while let Some((need, _)) = self.waiting.front() {
            if !self.rules.can_start(need, &self.running) {
                return;
            }
            let Some((need, tell)) = self.waiting.pop_front() else { return };
            // Somebody who gave up waiting has dropped the receiver, and its place with it.
            if tell.send(()).is_ok() {
                self.running.add(&need);
            }
        }
    }
}

impl Place {
    /// Waits for this job's turn.
    pub(crate) async fn turn(&mut self) {
        if let Some(turn) = &mut self.turn {
            // The sender is only dropped together with the slots themselves.
            let _ = turn.await;
            self.started = true;
            self.turn = None;
        }
    }

    /// Whether the job may start without waiting.
    pub(crate) fn is_ready(&self) -> bool {
        self.started
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        if let Some(turn) = &mut self.turn {
            turn.close();
            // The turn may have come between the last look and now.
            self.started |= turn.try_recv().is_ok();
        }
        state.promised.remove(&self.need);
        if self.started {
            state.running.remove(&self.need);
        }
        state.waiting.retain(|(_, tell)| !tell.is_closed());
        state.start_next();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use adit_model::{Abi, Limits, Profile, TaskCid};

    use super::*;
    use crate::config::{ByteSize, Config};

    const OWN: AccountId = AccountId([1; 20]);

    fn slots(cpus: u32, queue: u32) -> Slots {
        let mut config = Config::default();
        (config.host.cpus, config.host.queue) = (cpus, queue);
        config.host.memory = ByteSize(1 << 30);
        Slots::new(Rules::new(&config, OWN).unwrap())
    }

    fn task(memory: u64) -> Task {
        Task {
            code: TaskCid::of_block(b"code").to_cid(),
            abi: Abi::Wasip1,
            args: Vec::new(),
            env: BTreeMap::new(),
            inputs: BTreeMap::new(),
            stdin: None,
            limits: Limits { fuel: 1, memory, output: 1 },
            profile: Profile::Deterministic,
        }
    }

    #[tokio::test]
    async fn jobs_start_in_the_order_of_asking_and_never_beyond_what_there_is() {
        let slots = slots(2, 8);
        let admit = |memory| slots.admit(&OWN, &task(memory), 1, 0).unwrap();
        let first = admit(900 << 20);
        let mut big = admit(800 << 20);
        let mut small = admit(1 << 20);
        assert!(first.is_ready() && !big.is_ready() && !small.is_ready());
        // The small one would fit beside the first, but the big one asked before.
        assert_eq!(slots.counts(), (1, 2));
        drop(first);
        big.turn().await;
        small.turn().await;
        assert_eq!(slots.counts(), (2, 0));
        drop((big, small));
        assert_eq!(slots.counts(), (0, 0));
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_leaves_nothing_behind() {
        let slots = slots(1, 8);
        let running = slots.admit(&OWN, &task(1), 1, 0).unwrap();
        let waiting: Vec<_> = (0..5).map(|_| slots.admit(&OWN, &task(1), 1, 0).unwrap()).collect();
        let mut last = slots.admit(&OWN, &task(1), 1, 0).unwrap();
        drop(waiting);
        assert_eq!(slots.counts(), (1, 1));
        drop(running);
        last.turn().await;
        drop(last);
        assert_eq!(slots.counts(), (0, 0));
    }

    #[tokio::test]
    async fn a_place_dropped_right_after_its_turn_came_frees_the_slot() {
        let slots = slots(1, 8);
        let running = slots.admit(&OWN, &task(1), 1, 0).unwrap();
        let unaware = slots.admit(&OWN, &task(1), 1, 0).unwrap();
        drop(running);
        // `unaware` has been given its turn and never looked.
        assert_eq!(slots.counts(), (1, 0));
        drop(unaware);
        assert_eq!(slots.counts(), (0, 0));
        assert!(slots.admit(&OWN, &task(1), 1, 0).unwrap().is_ready());
    }
}
