//! The task that answers one connection's wants. It starts with the first want and ends with the
//! connection.
//!
//! It never stops reading wants for what it waits for: two nodes that each waited for the other to read answers before
//! reading wants would wait for ever. It reads them no faster than a peer may ask (`budget.rs`).

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use adit_store::BlockStore;
use cid::Cid;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokio::sync::{broadcast, mpsc};

use super::{
    Config,
    handler::Outgoing,
    ledger::{Ledger, Plan},
    link::Link,
    wire::{Answer, Entry},
};

/// Wantlist messages waiting for the task. It takes them at once, but from a peer that asks for too much.
const WANTS_QUEUE: usize = 2;
/// Answers waiting for the stream beside the one being written: one is enough to keep it busy.
pub(crate) const ANSWERS_QUEUE: usize = 1;
/// Wants noted, or looked up, in one step, between which new wants and cancels are read.
const LOOKUP_BATCH: usize = 64;
/// Blocks of one answer loaded at the same time, when few peers are being served. What the store reads for all of them
/// goes through one queue, in which nobody's block shall wait for many of everybody else's.
const LOAD_CONCURRENCY: usize = 8;
const LOADS_IN_ALL: usize = 2 * LOAD_CONCURRENCY;
/// Announcements of new blocks that a busy server may lag behind before it rechecks everything.
pub(crate) const ARRIVALS_QUEUE: usize = 64;

/// What all server tasks share.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) store: Arc<dyn BlockStore>,
    pub(crate) config: Arc<Config>,
    /// Blocks that came into the store, for peers that wait for them.
    pub(crate) arrivals: broadcast::Sender<Arc<[Cid]>>,
    /// Answers whose blocks are being loaded.
    pub(crate) loading: Arc<AtomicUsize>,
}

/// One of the answers whose blocks are being loaded.
struct Loading(Arc<AtomicUsize>);

impl Loading {
    /// Begins, and tells how many blocks to load at the same time.
    fn begin(loading: &Arc<AtomicUsize>) -> (Self, usize) {
        let answers = 1 + loading.fetch_add(1, Ordering::Relaxed);
        (Self(Arc::clone(loading)), (LOADS_IN_ALL / answers).clamp(1, LOAD_CONCURRENCY))
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts the server task of one connection when it is first needed: most connections of a node
/// exist for the DHT and never want a block.
pub(crate) struct Servers {
    serving: Serving,
    answers: mpsc::Sender<Outgoing>,
    task: OnceLock<mpsc::Sender<(Vec<Entry>, bool)>>,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").field("started", &self.task.get().is_some()).finish()
    }
}

impl Servers {
    pub(crate) fn new(serving: Serving, answers: mpsc::Sender<Outgoing>) -> Self {
        Self { serving, answers, task: OnceLock::new() }
    }

    /// Passes on one wantlist message.
    pub(crate) async fn wants(&self, link: &Arc<Link>, entries: Vec<Entry>, full: bool) {
        let task = self.task.get_or_init(|| {
            let (sender, wants) = mpsc::channel(WANTS_QUEUE);
            let server = Server {
                ledger: Ledger::new(self.serving.config.max_ledger),
                pending: Vec::new().into_iter(),
                full: false,
                serving: self.serving.clone(),
                link: Arc::clone(link),
                answers: self.answers.clone(),
                arrivals: None,
            };
            tokio::spawn(server.run(wants));
            sender
        });
        // Fails only when the connection is going down.
        let _ = task.send((entries, full)).await;
    }
}

struct Server {
    ledger: Ledger,
    /// Of the message in hand, what is not in the ledger yet.
    pending: std::vec::IntoIter<Entry>,
    /// The message in hand replaces what was wanted before.
    full: bool,
    serving: Serving,
    link: Arc<Link>,
    answers: mpsc::Sender<Outgoing>,
    /// Listened to only while the peer waits for something.
    arrivals: Option<broadcast::Receiver<Arc<[Cid]>>>,
}

/// The one thing a server does at a time, beside reading wants.
enum Done {
    Looked(Vec<(Cid, Option<u64>)>),
    Sent,
    /// The connection is gone.
    Closed,
}

impl Server {
    async fn run(mut self, mut wants: mpsc::Receiver<(Vec<Entry>, bool)>) {
        let mut job: Option<BoxFuture<'static, Done>> = None;
        loop {
            if job.is_none() {
                job = self.next_job();
            }
            self.listen();
            tokio::select! {
                biased;
                message = wants.recv(), if !self.has_pending() => match message {
                    Some((entries, full)) => {
                        self.pending = entries.into_iter();
                        self.full = full;
                    }
                    None => return,
                },
                // No faster than the peer may ask.
                () = async { self.link.account.rest().await }, if self.has_pending() => self.step().await,
                done = async { job.as_mut().expect("checked").await }, if job.is_some() => {
                    job = None;
                    match done {
                        Done::Looked(found) => {
                            for (cid, size) in found {
                                self.ledger.resolved(&cid, size);
                            }
                        }
                        Done::Sent => {}
                        Done::Closed => return,
                    }
                }
                arrived = async { self.arrivals.as_mut().expect("checked").recv().await },
                    if self.arrivals.is_some() => match arrived {
                    Ok(cids) => for cid in cids.iter() {
                        self.ledger.arrived(cid);
                    },
                    Err(broadcast::error::RecvError::Lagged(_)) => self.ledger.recheck(),
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    /// Takes the next few entries. Between two steps others have their turn, and answers go out.
    async fn step(&mut self) {
        let step: Vec<Entry> = self.pending.by_ref().take(LOOKUP_BATCH).collect();
        self.link.account.asked(step.len());
        self.ledger.apply(step, std::mem::take(&mut self.full));
        if self.pending.len() > 0 {
            tokio::task::yield_now().await;
        }
    }

    fn has_pending(&self) -> bool {
        self.full || self.pending.len() > 0
    }

    /// Listens to arrivals from when something is waited for until nothing is wanted. What arrived
    /// between the lookup and now is found by looking once more.
    fn listen(&mut self) {
        match (&self.arrivals, self.ledger.is_waiting()) {
            (None, true) => {
                self.arrivals = Some(self.serving.arrivals.subscribe());
                self.ledger.recheck();
            }
            (Some(_), _) if self.ledger.is_empty() => self.arrivals = None,
            _ => {}
        }
    }

    fn next_job(&mut self) -> Option<BoxFuture<'static, Done>> {
        // Look up first: a message planned from more wants is better filled.
        if self.ledger.has_lookups() {
            let cids = self.ledger.lookups(LOOKUP_BATCH);
            return Some(look_up(Arc::clone(&self.serving.store), cids).boxed());
        }
        if self.ledger.has_answers() {
            let plan = self.ledger.plan();
            let (serving, link) = (self.serving.clone(), Arc::clone(&self.link));
            return Some(answer(serving, link, self.answers.clone(), plan).boxed());
        }
        None
    }
}

async fn look_up(store: Arc<dyn BlockStore>, cids: Vec<Cid>) -> Done {
    let sizes = store.sizes(&cids).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot look blocks up for a peer");
        vec![None; cids.len()]
    });
    Done::Looked(cids.into_iter().zip(sizes).collect())
}

/// Waits for room, loads the planned blocks, and hands the message to the connection.
async fn answer(serving: Serving, link: Arc<Link>, answers: mpsc::Sender<Outgoing>, plan: Plan) -> Done {
    // Room on the connection first, so that only peers that read occupy the budget.
    let Ok(slot) = answers.reserve_owned().await else { return Done::Closed };
    let paid = match plan.load() {
        0 => None,
        load => Some(link.account.serve(load).await),
    };
    let mut message = Answer { haves: plan.haves, dont_haves: plan.dont_haves, ..Answer::default() };
    let (loading, at_once) = Loading::begin(&serving.loading);
    let mut loads = stream::iter(plan.blocks)
        .map(|(cid, size)| {
            let store = Arc::clone(&serving.store);
            async move { (cid, size, store.get(&cid).await) }
        })
        .buffered(at_once);
    while let Some((cid, size, block)) = loads.next().await {
        match block {
            // The same CID cannot name bytes of another length, but a store could be wrong.
            Ok(Some(data)) if data.len() == size => message.blocks.push((cid, data)),
            // Collected meanwhile, or corrupt: the peer shall ask somebody else.
            Ok(_) => message.dont_haves.push(cid),
            Err(error) => {
                tracing::warn!(%cid, %error, "cannot read a block for a peer");
                message.dont_haves.push(cid);
            }
        }
    }
    drop(loading);
    link.account.served(message.blocks.len());
    if !message.is_empty() {
        slot.send(Outgoing { pieces: message.pieces(), _paid: paid });
    }
    Done::Sent
}
