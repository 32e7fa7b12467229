//! The task around the client core: it feeds the core with what happens, does what the core
//! wants done, and hands blocks to those who wait for them.
//!
//! It owns all waiting readers. It ends when the behaviour is dropped; readers then get an error.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use adit_store::{Block, BlockStore, SourceError};
use bytes::Bytes;
use cid::Cid;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p::PeerId;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use super::{
    Behaviour, Config, Handle, ProviderFinder,
    behaviour::{Notice, Order},
    budget::{Budgets, Paid},
    client::{Action, Core, Failure, SessionId, Urgency, Verdict},
    link::Link,
    outside::{ANSWERS, FromOutside, Outside, OutsideError, Sources},
    receive::FromPeer,
    server::{ARRIVALS_QUEUE, Serving},
    session::{Accounts, Command, Delivery, HandleInner, Reply, Shared},
    wire::{Entry, WantKind},
    writer::{self, Fetched, Stored},
};

/// How often the core is told the time while something is wanted.
const TICK: Duration = Duration::from_millis(100);
/// Messages waiting for the engine; a connection that finds it full stops reading.
const MESSAGES_QUEUE: usize = 64;
/// Events of one kind taken in one turn, so that one message can ask for what all of them want.
const TURN: usize = 256;
/// Blocks remembered as just stored: more than come between a look into the store and a want.
const MAX_LATELY: usize = 4096;
/// Provider searches at the same time, and for how long each.
const MAX_SEARCHES: usize = 8;
const SEARCH_TIMEOUT: Duration = Duration::from_secs(30);

/// See [`bitswap::start`](super::start).
pub(super) fn start(
    store: Arc<dyn BlockStore>,
    finder: Arc<dyn ProviderFinder>,
    config: Arc<Config>,
) -> (Behaviour, Handle) {
    let (messages, messages_in) = mpsc::channel(MESSAGES_QUEUE);
    let (notices, notices_in) = mpsc::unbounded_channel();
    let (orders, orders_in) = mpsc::unbounded_channel();
    let (commands, commands_in) = mpsc::unbounded_channel();
    let (fetched, fetched_in) = mpsc::unbounded_channel();
    let (stored, stored_in) = mpsc::unbounded_channel();
    let (arrivals, _) = broadcast::channel(ARRIVALS_QUEUE);
    let accounts = Accounts::default();
    let budgets = Budgets::new(&config);
    let (outside, outside_in) = mpsc::channel(ANSWERS);
    let serving = Serving {
        store: Arc::clone(&store),
        config: Arc::clone(&config),
        arrivals: arrivals.clone(),
        loading: Arc::default(),
    };
    let engine = Engine {
        core: Core::new(Arc::clone(&config)),
        config: Arc::clone(&config),
        finder,
        links: HashMap::new(),
        sessions: HashMap::new(),
        open: HashMap::new(),
        probes: HashMap::new(),
        lately: Lately::default(),
        asked: HashSet::new(),
        outside: Sources::new(outside, Arc::clone(&budgets), Arc::clone(&config)),
        searches: FuturesUnordered::new(),
        search_slots: Arc::new(Semaphore::new(MAX_SEARCHES)),
        orders,
        fetched,
        arrivals: arrivals.clone(),
    };
    tokio::spawn(writer::run(Arc::clone(&store), fetched_in, stored));
    tokio::spawn(engine.run(Inputs {
        commands: commands_in,
        notices: notices_in,
        messages: messages_in,
        stored: stored_in,
        outside: outside_in,
    }));
    let behaviour = Behaviour {
        budgets,
        config: Arc::clone(&config),
        accounts: Arc::clone(&accounts),
        serving,
        messages,
        notices,
        orders: orders_in,
        nascent: HashMap::new(),
        addresses: HashMap::new(),
        out: VecDeque::new(),
    };
    let inner = HandleInner {
        config,
        store,
        commands,
        arrivals,
        accounts,
        runtime: tokio::runtime::Handle::current(),
        next: 1.into(),
    };
    (behaviour, Handle { inner: Arc::new(inner) })
}

struct Inputs {
    commands: mpsc::UnboundedReceiver<Command>,
    notices: mpsc::UnboundedReceiver<Notice>,
    messages: mpsc::Receiver<FromPeer>,
    stored: mpsc::UnboundedReceiver<Stored>,
    outside: mpsc::Receiver<FromOutside>,
}

/// What a search for providers gave.
struct Found {
    session: SessionId,
    peers: Vec<PeerId>,
    outside: Vec<Arc<dyn Outside>>,
}

struct Engine {
    core: Core,
    config: Arc<Config>,
    finder: Arc<dyn ProviderFinder>,
    /// Connections of each peer, direct ones first, then by age. Wants travel on the first.
    links: HashMap<PeerId, Vec<Arc<Link>>>,
    sessions: HashMap<SessionId, Arc<Shared>>,
    open: HashMap<Cid, Open>,
    probes: HashMap<u64, oneshot::Sender<Vec<PeerId>>>,
    lately: Lately,
    /// Peers whose link says that something is outstanding.
    asked: HashSet<PeerId>,
    outside: Sources,
    searches: FuturesUnordered<BoxFuture<'static, Found>>,
    search_slots: Arc<Semaphore>,
    orders: mpsc::UnboundedSender<Order>,
    fetched: mpsc::UnboundedSender<Fetched>,
    arrivals: broadcast::Sender<Arc<[Cid]>>,
}

/// A block that somebody waits for, until it is stored.
#[derive(Default)]
struct Open {
    readers: Vec<Reader>,
    /// It came and is on its way to the store.
    storing: bool,
}

/// One session's interest in a block.
struct Reader {
    session: SessionId,
    /// Prefetched, so nobody needs to wait.
    ahead: bool,
    waiters: Vec<(u64, oneshot::Sender<Reply>)>,
}

/// The blocks stored last. A reader may have looked into the store a moment too early.
#[derive(Default)]
struct Lately {
    cids: HashSet<Cid>,
    order: VecDeque<Cid>,
}

impl Lately {
    fn add(&mut self, cid: Cid) {
        if self.cids.insert(cid) {
            self.order.push_back(cid);
        }
        if self.order.len() > MAX_LATELY
            && let Some(oldest) = self.order.pop_front()
        {
            self.cids.remove(&oldest);
        }
    }

    fn contains(&self, cid: &Cid) -> bool {
        self.cids.contains(cid)
    }
}

impl Open {
    fn reader(&mut self, session: SessionId) -> &mut Reader {
        let at = self.readers.iter().position(|r| r.session == session).unwrap_or_else(|| {
            self.readers.push(Reader { session, ahead: false, waiters: Vec::new() });
            self.readers.len() - 1
        });
        &mut self.readers[at]
    }
}

impl Engine {
    async fn run(mut self, mut inputs: Inputs) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let busy = self.core.is_busy();
            tokio::select! {
                biased;
                notice = inputs.notices.recv() => match notice {
                    Some(notice) => self.on_notice(notice, Instant::now()),
                    None => return,
                },
                Some(stored) = inputs.stored.recv() => self.on_stored(stored),
                Some(message) = inputs.messages.recv() => self.on_message(message, Instant::now()),
                Some(command) = inputs.commands.recv() => {
                    self.take_notices(&mut inputs.notices);
                    self.on_command(command, Instant::now());
                }
                Some(answer) = inputs.outside.recv() => self.on_outside(answer, Instant::now()),
                Some(found) = self.searches.next(), if !self.searches.is_empty() => {
                    self.on_found(found, Instant::now());
                }
                _ = tick.tick(), if busy => self.on_tick(Instant::now()),
            }
            // Whatever else is there belongs to the same turn.
            let now = Instant::now();
            for _ in 0..TURN {
                let Ok(stored) = inputs.stored.try_recv() else { break };
                self.on_stored(stored);
            }
            for _ in 0..TURN {
                let Ok(message) = inputs.messages.try_recv() else { break };
                self.on_message(message, now);
            }
            while let Ok(answer) = inputs.outside.try_recv() {
                self.on_outside(answer, now);
            }
            for _ in 0..TURN {
                let Ok(command) = inputs.commands.try_recv() else { break };
                self.take_notices(&mut inputs.notices);
                self.on_command(command, now);
            }
            self.end_turn(now);
            if busy && !self.core.is_busy() {
                self.mark_links();
            }
        }
    }

    // ---- what happens ----

    /// A command may be about a peer that connected just before.
    fn take_notices(&mut self, notices: &mut mpsc::UnboundedReceiver<Notice>) {
        while let Ok(notice) = notices.try_recv() {
            self.on_notice(notice, Instant::now());
        }
    }

    fn on_notice(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Opened(link) => {
                let peer = link.peer;
                let links = self.links.entry(peer).or_default();
                // Relays are slow and cut connections off, so a direct connection takes over.
                let better = links.first().is_some_and(|first| first.relayed && !link.relayed);
                if better {
                    links[0].set_outstanding(0);
                    links.insert(0, link);
                    self.core.disconnected(peer, now);
                    self.core.connected(peer, now);
                } else {
                    links.push(link);
                    if links.len() == 1 {
                        self.core.connected(peer, now);
                    }
                }
            }
            Notice::Closed(peer, id) => {
                let Some(links) = self.links.get_mut(&peer) else { return };
                let carried_wants = links.first().is_some_and(|link| link.id == id);
                links.retain(|link| link.id != id);
                let others = !links.is_empty();
                if !others {
                    self.links.remove(&peer);
                    self.asked.remove(&peer);
                }
                if carried_wants {
                    self.core.disconnected(peer, now);
                    if others {
                        self.core.connected(peer, now);
                    }
                }
            }
            Notice::DialFailed(peer) => self.core.dial_failed(peer, now),
            Notice::Speaks(peer, speaks) => {
                if self.links.contains_key(&peer) {
                    self.core.speaks(peer, speaks, now);
                }
            }
        }
    }

    fn on_message(&mut self, message: FromPeer, now: Instant) {
        let FromPeer { link, received } = message;
        let peer = link.peer;
        if !self.links.contains_key(&peer) {
            return;
        }
        let sizes: Vec<(Cid, usize)> = received.blocks.iter().map(|(cid, data)| (*cid, data.len())).collect();
        let verdicts = self.core.blocks(peer, &sizes, (received.unasked, received.unread), now);
        self.take(peer, received.blocks, verdicts, received.paid);
        self.core.haves(peer, &received.haves, now);
        self.core.dont_haves(peer, &received.dont_haves, now);
    }

    /// What a source that is no peer was asked for.
    fn on_outside(&mut self, answer: FromOutside, now: Instant) {
        let FromOutside { id, cid, result } = answer;
        if !self.outside.is_asked(&id) {
            return;
        }
        match result {
            Ok((data, paid)) => {
                let verdicts = self.core.blocks(id, &[(cid, data.len())], (0, 0), now);
                self.take(id, vec![(cid, data)], verdicts, Some(paid));
            }
            Err(error) => {
                if let OutsideError::Failed(reason) = error {
                    tracing::debug!(%cid, reason, "a source failed");
                }
                // Others are asked; a source that only failed is asked for other blocks.
                self.core.dont_haves(id, &[cid], now);
            }
        }
        self.outside.check(&mut self.core, &id, now);
    }

    fn on_found(&mut self, found: Found, now: Instant) {
        let Found { session, peers, outside } = found;
        if self.sessions.contains_key(&session) {
            for source in outside {
                self.outside.add(&mut self.core, source, &[session], false, now);
            }
        }
        self.core.found(session, peers, now);
    }

    /// Hands blocks that somebody wants to the writer.
    fn take(&mut self, peer: PeerId, blocks: Vec<(Cid, Bytes)>, verdicts: Vec<Verdict>, paid: Option<Paid>) {
        let mut wanted = Vec::with_capacity(blocks.len());
        for ((cid, data), verdict) in blocks.into_iter().zip(verdicts) {
            let Some(open) = self.open.get_mut(&cid) else { continue };
            if verdict != Verdict::Wanted || open.storing {
                continue;
            }
            open.storing = true;
            for reader in &open.readers {
                if let Some(shared) = self.sessions.get(&reader.session) {
                    *shared.received.lock().entry(peer).or_default() += data.len() as u64;
                }
            }
            wanted.push(Block { cid, data });
        }
        if !wanted.is_empty() {
            // Fails only when the runtime shuts down.
            let _ = self.fetched.send(Fetched { blocks: wanted, paid });
        }
    }

    fn on_stored(&mut self, stored: Stored) {
        for Block { cid, data } in &stored.blocks {
            if stored.result.is_ok() {
                self.lately.add(*cid);
            }
            let Some(open) = self.open.remove(cid) else { continue };
            for reader in open.readers {
                let Some(shared) = self.sessions.get(&reader.session) else { continue };
                shared.wants.fetch_sub(1, Ordering::Relaxed);
                if reader.waiters.is_empty() && stored.result.is_ok() {
                    let limit = self.config.unclaimed_per_session;
                    shared.unclaimed.lock().put(*cid, data.clone(), limit);
                }
                for (_, reply) in reader.waiters {
                    let result = stored.result.clone().map(|()| Delivery::Block(data.clone()));
                    // A reader that went away meanwhile needs nothing.
                    let _ = reply.send(result.map_err(SourceError::Store));
                }
            }
        }
        if stored.result.is_ok() && self.arrivals.receiver_count() > 0 {
            let cids: Arc<[Cid]> = stored.blocks.iter().map(|block| block.cid).collect();
            let _ = self.arrivals.send(cids);
        }
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Open { session, hints, shared } => {
                self.sessions.insert(session, shared);
                self.core.open(session, hints, now);
                self.outside.for_session(&mut self.core, session, now);
            }
            Command::Hint { session, peers } => self.core.hint(session, peers, now),
            Command::Close { session } => {
                self.sessions.remove(&session);
                self.core.close(session, now);
                self.outside.session_closed(&mut self.core, session, now);
                self.open.retain(|_, open| {
                    open.readers.retain(|reader| reader.session != session);
                    open.storing || !open.readers.is_empty()
                });
            }
            Command::Want { session, cid, waiter, reply, insist } => {
                let Some(shared) = self.sessions.get(&session) else { return };
                // It may have come while the reader looked into the store.
                if let Some(data) = shared.unclaimed.lock().take(&cid) {
                    let _ = reply.send(Ok(Delivery::Block(data)));
                    return;
                }
                if !insist && self.lately.contains(&cid) {
                    let _ = reply.send(Ok(Delivery::LookAgain));
                    return;
                }
                self.want(session, cid, Urgency::Now, now);
                let reader = self.open.entry(cid).or_default().reader(session);
                reader.waiters.push((waiter, reply));
            }
            Command::Ahead { session, cids } => {
                for cid in cids {
                    let Some(shared) = self.sessions.get(&session) else { return };
                    let there = shared.unclaimed.lock().contains(&cid) || self.lately.contains(&cid);
                    if !there {
                        self.want(session, cid, Urgency::Ahead, now);
                        self.open.entry(cid).or_default().reader(session).ahead = true;
                    }
                }
            }
            Command::Unwait { session, cid, waiter } => self.unwait(session, cid, waiter),
            Command::Probe { probe, cid, peers, reply } => {
                self.probes.insert(probe, reply);
                self.core.probe(probe, cid, peers);
            }
            Command::EndProbe { probe } => self.core.end_probe(probe),
            Command::Outside { sources, finder } => {
                if let Some(finder) = finder {
                    self.outside.set_finder(finder);
                }
                let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
                for source in sources {
                    self.outside.add(&mut self.core, source, &sessions, true, now);
                }
            }
        }
    }

    fn want(&mut self, session: SessionId, cid: Cid, urgency: Urgency, now: Instant) {
        let open = self.open.entry(cid).or_default();
        if !open.readers.iter().any(|reader| reader.session == session)
            && let Some(shared) = self.sessions.get(&session)
        {
            shared.wants.fetch_add(1, Ordering::Relaxed);
        }
        open.reader(session);
        if !open.storing {
            self.core.want(session, cid, urgency, now);
        }
    }

    fn unwait(&mut self, session: SessionId, cid: Cid, waiter: u64) {
        let Some(open) = self.open.get_mut(&cid) else { return };
        let reader = open.reader(session);
        reader.waiters.retain(|(id, _)| *id != waiter);
        if reader.ahead || !reader.waiters.is_empty() {
            return;
        }
        open.readers.retain(|reader| reader.session != session);
        if let Some(shared) = self.sessions.get(&session) {
            shared.wants.fetch_sub(1, Ordering::Relaxed);
        }
        if !open.storing {
            if open.readers.is_empty() {
                self.open.remove(&cid);
            }
            self.core.unwant(session, &cid);
        }
    }

    fn on_tick(&mut self, now: Instant) {
        let asked: Vec<PeerId> = self.core.outstanding().map(|(peer, _)| peer).collect();
        for peer in asked {
            let Some(link) = self.links.get(&peer).and_then(|links| links.first()) else {
                continue;
            };
            let rate = self.core.rate(&peer).unwrap_or_default() as u64;
            link.account.rate.store(rate, Ordering::Relaxed);
            self.core.trickled(peer, link.trickle.load(Ordering::Relaxed), now);
        }
        self.outside.tick(&mut self.core, now);
        self.core.tick(now);
        self.mark_links();
    }

    /// Tells connections whether a session counts on them.
    fn mark_links(&mut self) {
        let counted_on = self.core.counted_on();
        for (peer, links) in &self.links {
            let keep = counted_on.contains(peer);
            links.iter().for_each(|link| link.set_keep(keep));
        }
    }

    // ---- what to do ----

    fn end_turn(&mut self, now: Instant) {
        let actions = self.core.pump(now);
        // Before anything is sent: the answer must find the connection expecting it.
        self.mark_outstanding();
        for action in actions {
            match action {
                Action::Send { peer, entries } if self.outside.contains(&peer) => {
                    self.outside.send(&peer, entries);
                }
                Action::Send { peer, entries } => self.send(peer, |link| link.push(entries)),
                Action::Again { peer, cids } if self.outside.contains(&peer) => {
                    // What it is being asked already is not asked twice.
                    let wants = cids.iter().map(|cid| Entry::want(*cid, WantKind::Block)).collect();
                    self.outside.send(&peer, wants);
                }
                Action::Again { peer, cids } => self.send(peer, |link| {
                    let cancels = cids.iter().map(|cid| Entry::cancel(*cid)).collect();
                    let wants = cids.iter().map(|cid| Entry::want(*cid, WantKind::Block)).collect();
                    link.push_apart(cancels) && link.push_apart(wants)
                }),
                Action::Close { peer, .. } if self.outside.contains(&peer) => {
                    self.outside.give_up(&mut self.core, &peer, now);
                }
                Action::Close { peer, why } => {
                    tracing::debug!(%peer, why, "closing a peer's connections");
                    self.order(Order::Close(peer));
                }
                // It is taken again when it can be asked.
                Action::Dial { peer } if self.outside.contains(&peer) => self.core.leave(peer, now),
                Action::Dial { peer } => self.order(Order::Dial(peer)),
                Action::Find { session, cid } => self.search(session, cid),
                Action::Failed { cid, why } => self.fail(cid, &why),
                Action::Probed { probe, have } => {
                    if let Some(reply) = self.probes.remove(&probe) {
                        let _ = reply.send(have);
                    }
                }
            }
        }
    }

    fn mark_outstanding(&mut self) {
        let before = std::mem::take(&mut self.asked);
        for (peer, count) in self.core.outstanding() {
            if let Some(link) = self.links.get(&peer).and_then(|links| links.first()) {
                link.set_outstanding(count);
                self.asked.insert(peer);
            }
        }
        for peer in before.difference(&self.asked) {
            if let Some(links) = self.links.get(peer) {
                links.iter().for_each(|link| link.set_outstanding(0));
            }
        }
    }

    fn send(&self, peer: PeerId, push: impl FnOnce(&Link) -> bool) {
        let Some(link) = self.links.get(&peer).and_then(|links| links.first()) else { return };
        if !push(link) {
            tracing::debug!(%peer, "takes none of our wantlists");
            self.order(Order::CloseOne(peer, link.id));
        }
    }

    /// Fails only when the swarm is gone, and then this task ends, too.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    fn search(&self, session: SessionId, cid: Cid) {
        let (finder, slots) = (Arc::clone(&self.finder), Arc::clone(&self.search_slots));
        let others = self.outside.finder();
        let search = async move {
            let _slot = slots.acquire().await;
            let peers = tokio::time::timeout(SEARCH_TIMEOUT, finder.find(cid));
            let outside = async {
                let Some(finder) = others else { return Vec::new() };
                tokio::time::timeout(SEARCH_TIMEOUT, finder.find(cid)).await.unwrap_or_default()
            };
            let (peers, outside) = tokio::join!(peers, outside);
            Found { session, peers: peers.unwrap_or_default(), outside }
        };
        self.searches.push(search.boxed());
    }

    fn fail(&mut self, cid: Cid, why: &Failure) {
        let Some(open) = self.open.remove(&cid) else { return };
        tracing::debug!(%cid, %why, "a block cannot be had");
        for reader in open.readers {
            if let Some(shared) = self.sessions.get(&reader.session) {
                shared.wants.fetch_sub(1, Ordering::Relaxed);
            }
            for (_, reply) in reader.waiters {
                let _ = reply.send(Err(match why {
                    Failure::Absent { .. } => SourceError::NotFound(cid),
                    _ => SourceError::Unavailable { cid, reason: why.to_string() },
                }));
            }
        }
    }
}
