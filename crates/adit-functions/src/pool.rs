//! Workers, kept warm.
//!
//! A worker serves one program and one request at a time, request after request. There are as many as the operator
//! allows; one function gets all but one of them at most, so that a function whose requests never end leaves room for
//! the others.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use adit_node::{FunctionWorker, Node};
use adit_wire::Inbox;
use cid::Cid;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests that one worker answers before another takes its place, so that whatever builds up in one is bounded.
const MOST_REQUESTS: u32 = 100_000;
/// How long a worker waits for its next request.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    node: Node,
    workers: usize,
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The longest idle first.
    idle: Vec<(Cid, Worker, Instant)>,
    /// Places of each function that is asked for.
    functions: HashMap<Cid, Arc<Semaphore>>,
    alive: usize,
}

/// One jailed process and what belongs to the conversation with it.
pub(crate) struct Worker {
    pub(crate) process: FunctionWorker,
    pub(crate) inbox: Inbox,
    pub(crate) frame: Vec<u8>,
    requests: u32,
}

/// A worker for one request. Unless it is given back it is ended.
pub(crate) struct Lent {
    worker: Option<Worker>,
    code: Cid,
    pool: Pool,
    _places: [OwnedSemaphorePermit; 2],
}

impl Pool {
    pub(crate) fn new(node: Node, workers: usize) -> Self {
        let (places, state) = (Arc::new(Semaphore::new(workers)), Mutex::default());
        Pool { shared: Arc::new(Shared { node, workers, places, state }) }
    }

    /// A worker for this program; waits its turn. The error is why none can be had.
    pub(crate) async fn take(&self, code: Cid, patience: Duration) -> Result<Lent, String> {
        let shared = &self.shared;
        let own = {
            let mut state = shared.state.lock();
            if state.functions.len() > 4096 {
                let all = shared.workers.saturating_sub(1).max(1);
                state.functions.retain(|_, places| places.available_permits() < all);
            }
            let places = state
                .functions
                .entry(code)
                .or_insert_with(|| Arc::new(Semaphore::new(shared.workers.saturating_sub(1).max(1))));
            Arc::clone(places)
        };
        let closed = |_| "the pool is closed".to_owned();
        let own = own.acquire_owned().await.map_err(closed)?;
        let place = Arc::clone(&shared.places).acquire_owned().await.map_err(closed)?;
        let mut lent = Lent { worker: None, code, pool: self.clone(), _places: [own, place] };
        {
            let mut state = shared.state.lock();
            let found = state.idle.iter().rposition(|(idle, ..)| *idle == code);
            if let Some(index) = found {
                lent.worker = Some(state.idle.remove(index).1);
                return Ok(lent);
            }
            // Those that work each hold a place, and we hold one: if there is no room, somebody is idle.
            if state.alive >= shared.workers && !state.idle.is_empty() {
                state.idle.remove(0);
                state.alive -= 1;
            }
            state.alive += 1;
        }
        match shared.node.function_worker(code, patience).await {
            Ok(process) => {
                let (inbox, frame) = (Inbox::new(), Vec::new());
                lent.worker = Some(Worker { process, inbox, frame, requests: 0 });
                Ok(lent)
            }
            // Dropping what was lent counts it out.
            Err(failure) => Err(failure.reason),
        }
    }

    /// Ends workers that have been idle for long.
    pub(crate) fn tidy(&self) {
        let mut state = self.shared.state.lock();
        let before = state.idle.len();
        state.idle.retain(|(_, _, since)| since.elapsed() < IDLE);
        state.alive -= before - state.idle.len();
    }
}

impl Lent {
    pub(crate) fn worker(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("a worker is only taken out at the end")
    }

    /// Gives it back for the next request: it has said its last word about this one.
    pub(crate) fn give_back(mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        worker.requests += 1;
        let mut state = self.pool.shared.state.lock();
        if worker.requests >= MOST_REQUESTS {
            state.alive -= 1;
        } else {
            state.idle.push((self.code, worker, Instant::now()));
        }
        drop(state);
        // So that dropping does not count it out again.
        self.code = Cid::default();
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.code != Cid::default() {
            self.pool.shared.state.lock().alive -= 1;
        }
    }
}
