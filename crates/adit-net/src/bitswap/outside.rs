//! Sources of blocks that are no peers: gateways over HTTP, for the node.
//!
//! To the client's core each is one more peer: it has a window that follows its throughput, its wants go elsewhere when
//! it stalls, and whoever answers first wins. What is particular to it stands here: wants become calls of
//! [`Outside::block`], a few at a time, and nobody is asked whether they *have* something. Only sessions that were told
//! of a source ask it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use libp2p::PeerId;
use multihash::Multihash;
use sha2::{Digest, Sha256};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::{
    Config,
    budget::{Budgets, Paid, PeerAccount},
    client::{Core, SessionId},
    config::MAX_BLOCK,
    receive::SHA2_256,
    wire::{Entry, WantKind},
};

/// Sources known at the same time.
const MAX_SOURCES: usize = 64;
/// How often one block is asked of a source that fails.
const TRIES: u32 = 3;
/// How long a source is left alone that stalled until it was given up.
const PAUSE: Duration = Duration::from_secs(30);
/// Answers waiting for the engine.
pub(super) const ANSWERS: usize = 16;

/// Somebody who can be asked for blocks, and is not a peer.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// What tells it from others, for people too: its URL.
    fn name(&self) -> String;

    /// The block's bytes, which the source has hashed. Dropping the future ends the request.
    async fn block(&self, cid: &Cid) -> Result<Bytes, OutsideError>;

    /// Bytes that came so far, of unfinished answers too.
    fn arrived(&self) -> u64;

    /// How many blocks it may be asked for at the same time.
    fn parallel(&self) -> usize;

    /// Whether it is worth asking at the moment.
    fn is_ready(&self) -> bool;
}

/// Why a source did not give a block.
#[derive(Debug, thiserror::Error)]
pub enum OutsideError {
    /// It does not have it.
    #[error("it does not have the block")]
    Absent,
    /// It could not be asked, or broke off.
    #[error("{0}")]
    Failed(String),
}

/// Somebody who knows more such sources for a block.
#[async_trait]
pub trait OutsideFinder: Send + Sync + 'static {
    async fn find(&self, cid: Cid) -> Vec<Arc<dyn Outside>>;
}

/// What became of one block that a source was asked for.
pub(super) struct FromOutside {
    pub(super) id: PeerId,
    pub(super) cid: Cid,
    pub(super) result: Result<(Bytes, Paid), OutsideError>,
}

/// The sources that the engine knows.
pub(super) struct Sources {
    known: HashMap<PeerId, Known>,
    finder: Option<Arc<dyn OutsideFinder>>,
    answers: mpsc::Sender<FromOutside>,
    budgets: Arc<Budgets>,
    config: Arc<Config>,
}

struct Known {
    source: Arc<dyn Outside>,
    jobs: mpsc::UnboundedSender<Job>,
    /// For all sessions, else for these.
    everywhere: bool,
    sessions: HashSet<SessionId>,
    /// Not asked, at least until then.
    away: Option<Instant>,
}

enum Job {
    Want(Cid),
    Cancel(Cid),
    CancelAll,
}

impl Sources {
    pub(super) fn new(
        answers: mpsc::Sender<FromOutside>,
        budgets: Arc<Budgets>,
        config: Arc<Config>,
    ) -> Self {
        Self { known: HashMap::new(), finder: None, answers, budgets, config }
    }

    pub(super) fn set_finder(&mut self, finder: Arc<dyn OutsideFinder>) {
        self.finder = Some(finder);
    }

    pub(super) fn finder(&self) -> Option<Arc<dyn OutsideFinder>> {
        self.finder.clone()
    }

    pub(super) fn contains(&self, id: &PeerId) -> bool {
        self.known.contains_key(id)
    }

    /// Whether its answers count: what it was asked before it was left alone is asked of others.
    pub(super) fn is_asked(&self, id: &PeerId) -> bool {
        self.known.get(id).is_some_and(|known| known.away.is_none())
    }

    /// Adds a source: for one session, or for all that are and will be.
    pub(super) fn add(
        &mut self,
        core: &mut Core,
        source: Arc<dyn Outside>,
        sessions: &[SessionId],
        everywhere: bool,
        now: Instant,
    ) {
        let id = id_of(&source.name());
        if !self.known.contains_key(&id) {
            if self.known.len() >= MAX_SOURCES {
                return;
            }
            let (jobs, orders) = mpsc::unbounded_channel();
            let account = PeerAccount::new(Arc::clone(&self.budgets), &self.config);
            tokio::spawn(run(id, Arc::clone(&source), account, orders, self.answers.clone()));
            let known = Known { source, jobs, everywhere: false, sessions: HashSet::new(), away: Some(now) };
            self.known.insert(id, known);
        }
        let Some(known) = self.known.get_mut(&id) else { return };
        known.everywhere |= everywhere;
        known.sessions.extend(sessions);
        match known.away {
            Some(_) => self.look(core, now),
            None => sessions.iter().for_each(|session| core.hint(*session, vec![id], now)),
        }
    }

    /// Those that a new session may ask.
    pub(super) fn for_session(&mut self, core: &mut Core, session: SessionId, now: Instant) {
        for (id, known) in &mut self.known {
            if known.everywhere {
                known.sessions.insert(session);
                if known.away.is_none() {
                    core.hint(session, vec![*id], now);
                }
            }
        }
        self.look(core, now);
    }

    pub(super) fn session_closed(&mut self, core: &mut Core, session: SessionId, now: Instant) {
        self.known.retain(|id, known| {
            known.sessions.remove(&session);
            let keep = known.everywhere || !known.sessions.is_empty();
            if !keep {
                core.leave(*id, now);
            }
            keep
        });
    }

    /// Passes wants and cancels on.
    pub(super) fn send(&self, id: &PeerId, entries: Vec<Entry>) {
        let Some(known) = self.known.get(id) else { return };
        for entry in entries {
            let job = match (entry.cancel, entry.kind) {
                (true, _) => Job::Cancel(entry.cid),
                (false, WantKind::Block) => Job::Want(entry.cid),
                // The core asks only peers whether they have something.
                (false, WantKind::Have) => continue,
            };
            // Fails only while everything ends.
            let _ = known.jobs.send(job);
        }
    }

    /// Lets a source alone that is not worth asking any more.
    pub(super) fn check(&mut self, core: &mut Core, id: &PeerId, now: Instant) {
        if self.known.get(id).is_some_and(|known| known.away.is_none() && !known.source.is_ready()) {
            self.leave(core, id, now, Duration::ZERO);
        }
    }

    /// Gives up what a source was asked for, since it delivers nothing.
    pub(super) fn give_up(&mut self, core: &mut Core, id: &PeerId, now: Instant) {
        self.leave(core, id, now, PAUSE);
    }

    fn leave(&mut self, core: &mut Core, id: &PeerId, now: Instant, pause: Duration) {
        let Some(known) = self.known.get_mut(id) else { return };
        tracing::debug!(source = %known.source.name(), "is left alone for a while");
        known.away = Some(now + pause);
        let _ = known.jobs.send(Job::CancelAll);
        core.leave(*id, now);
    }

    /// Tells the core of signs of life, and of sources that are back.
    pub(super) fn tick(&mut self, core: &mut Core, now: Instant) {
        for (id, known) in &self.known {
            core.trickled(*id, known.source.arrived(), now);
        }
        self.look(core, now);
    }

    /// Takes sources (again) that can be asked.
    fn look(&mut self, core: &mut Core, now: Instant) {
        for (id, known) in &mut self.known {
            if known.away.is_some_and(|until| until <= now) && known.source.is_ready() {
                known.away = None;
                core.connected_outside(*id, now);
                known.sessions.iter().for_each(|session| core.hint(*session, vec![*id], now));
            }
        }
    }
}

/// A name of the form that peers have. No peer has it, as it is no key's hash.
fn id_of(name: &str) -> PeerId {
    let digest = Sha256::digest([b"outside source ", name.as_bytes()].concat());
    let hash = Multihash::wrap(SHA2_256, &digest).expect("32 bytes fit");
    PeerId::from_multihash(hash).expect("SHA2-256 is allowed")
}

/// Asks one source for blocks, as many at a time as it takes. Ends with the engine's interest in it, and all its
/// requests with it.
async fn run(
    id: PeerId,
    source: Arc<dyn Outside>,
    account: Arc<PeerAccount>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    answers: mpsc::Sender<FromOutside>,
) {
    let mut waiting: VecDeque<Cid> = VecDeque::new();
    let mut running: HashMap<Cid, AbortHandle> = HashMap::new();
    let mut requests = JoinSet::new();
    loop {
        while running.len() < source.parallel().max(1)
            && let Some(cid) = waiting.pop_front()
        {
            let (source, account) = (Arc::clone(&source), Arc::clone(&account));
            let request = async move { (cid, ask(&*source, &account, &cid).await) };
            running.insert(cid, requests.spawn(request));
        }
        tokio::select! {
            job = jobs.recv() => match job {
                Some(Job::Want(cid)) => {
                    if !running.contains_key(&cid) && !waiting.contains(&cid) {
                        waiting.push_back(cid);
                    }
                }
                Some(Job::Cancel(cid)) => {
                    waiting.retain(|waiting| *waiting != cid);
                    if let Some(request) = running.remove(&cid) {
                        request.abort();
                    }
                }
                Some(Job::CancelAll) => {
                    waiting.clear();
                    running.clear();
                    requests.abort_all();
                }
                None => return,
            },
            Some(done) = requests.join_next() => {
                // Aborted ones have been taken out already.
                let Ok((cid, result)) = done else { continue };
                running.remove(&cid);
                if answers.send(FromOutside { id, cid, result }).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Room for the longest block is paid for first, and what it is shorter by paid back.
async fn ask(source: &dyn Outside, account: &PeerAccount, cid: &Cid) -> Result<(Bytes, Paid), OutsideError> {
    let mut paid = account.receive(MAX_BLOCK, true).await;
    let mut tries = 1;
    loop {
        match source.block(cid).await {
            Ok(data) => {
                paid.keep(data.len());
                return Ok((data, paid));
            }
            Err(OutsideError::Failed(_)) if tries < TRIES && source.is_ready() => tries += 1,
            Err(error) => return Err(error),
        }
    }
}
