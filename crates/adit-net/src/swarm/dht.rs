//! Questions to the DHT, announcements, and the meeting point of a network's Adit nodes.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    kad::{self, GetClosestPeersError, GetClosestPeersOk, GetProvidersOk, PeerInfo, QueryResult, RecordKey},
};

use super::{
    Reply, Task,
    values::{Publication, Search},
};
use crate::{dht, error::LookupError, metrics::Count};

/// Lookups at once. Each may ask dozens of nodes.
const MAX_LOOKUPS: usize = 64;
/// Providers that one lookup connects with while it knows where they are.
const DIALS_PER_LOOKUP: usize = 8;
/// Once a provider is found, a lookup looks this much longer for more. It would otherwise end with
/// its slowest node: a vanished one costs five seconds over QUIC.
const SETTLE: Duration = Duration::from_millis(500);
/// With this many Adit peers connected, the meeting point is visited seldom.
const ENOUGH_ADIT_PEERS: usize = 8;
const RENDEZVOUS_FIRST: Duration = Duration::from_secs(15);
const RENDEZVOUS_LONGEST: Duration = Duration::from_secs(30 * 60);

/// A running query and what its answer is for.
pub(super) enum Query {
    Announce(dht::Key),
    Providers(Providers),
    Rendezvous,
    Record(Search),
    Publish(Publication),
    Peer { peer: PeerId, replies: Vec<Reply<Result<Vec<Multiaddr>, LookupError>>> },
}

pub(super) struct Providers {
    found: Vec<PeerId>,
    limit: usize,
    dialled: usize,
    /// Whether the first find sets an end to the search.
    depth: Depth,
    settled: Option<Instant>,
    reply: Reply<Result<Vec<PeerId>, LookupError>>,
}

/// How far a search for providers goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// A little further than the first find: somebody waits to fetch.
    Enough,
    /// Until every node near the key was asked.
    All,
}

impl Query {
    fn settled(&self) -> Option<Instant> {
        match self {
            Query::Providers(providers) => providers.settled,
            Query::Record(search) => search.settled,
            _ => None,
        }
    }
}

/// When to visit the meeting point next.
#[derive(Debug)]
pub(super) struct Rendezvous {
    delay: Duration,
    next: Instant,
    running: bool,
}

impl Rendezvous {
    pub(super) fn new(now: Instant) -> Self {
        Self { delay: RENDEZVOUS_FIRST, next: now + RENDEZVOUS_FIRST, running: false }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        (!self.running).then_some(self.next)
    }

    fn soon(&mut self, now: Instant) {
        self.delay = RENDEZVOUS_FIRST;
        self.next = self.next.min(now);
    }

    fn visited(&mut self, enough: bool, now: Instant) {
        self.running = false;
        self.delay = if enough { RENDEZVOUS_LONGEST } else { (self.delay * 2).min(RENDEZVOUS_LONGEST) };
        self.next = now + self.delay;
    }
}

impl Task {
    pub(super) fn find_providers(
        &mut self,
        key: dht::Key,
        limit: usize,
        depth: Depth,
        reply: Reply<Result<Vec<PeerId>, LookupError>>,
    ) {
        if self.too_many_lookups() {
            let _ = reply.send(Err(LookupError::Busy));
            return;
        }
        self.state.metrics.lookups.one();
        let id = self.swarm.behaviour_mut().kad.get_providers(record_key(&key));
        let providers =
            Providers { found: Vec::new(), limit: limit.max(1), dialled: 0, depth, settled: None, reply };
        self.queries.insert(id, Query::Providers(providers));
    }

    pub(super) fn too_many_lookups(&self) -> bool {
        self.queries.len() >= MAX_LOOKUPS
    }

    pub(super) fn find_peer(&mut self, peer: PeerId, reply: Reply<Result<Vec<Multiaddr>, LookupError>>) {
        let running = self.queries.values_mut().find_map(|query| match query {
            Query::Peer { peer: p, replies } if *p == peer => Some(replies),
            _ => None,
        });
        if let Some(replies) = running {
            replies.push(reply);
        } else if self.queries.len() >= MAX_LOOKUPS {
            let _ = reply.send(Err(LookupError::Busy));
        } else {
            self.state.metrics.lookups.one();
            let id = self.swarm.behaviour_mut().kad.get_closest_peers(peer);
            self.queries.insert(id, Query::Peer { peer, replies: vec![reply] });
        }
    }

    /// Asks where a peer is, for a dial; false when too many lookups run already.
    pub(super) fn look_for(&mut self, peer: PeerId) -> bool {
        let running = self.queries.values().any(|q| matches!(q, Query::Peer { peer: p, .. } if *p == peer));
        if !running && self.queries.len() >= MAX_LOOKUPS {
            return false;
        }
        if !running {
            self.state.metrics.lookups.one();
            let id = self.swarm.behaviour_mut().kad.get_closest_peers(peer);
            self.queries.insert(id, Query::Peer { peer, replies: Vec::new() });
        }
        true
    }

    pub(super) fn unannounce(&mut self, key: dht::Key) {
        self.announcer.remove(&key);
        self.announced.remove(&key);
        self.swarm.behaviour_mut().kad.stop_providing(&record_key(&key));
    }

    pub(super) fn announce_due(&mut self, now: Instant) {
        for key in self.announcer.due(now) {
            match self.swarm.behaviour_mut().kad.start_providing(record_key(&key)) {
                Ok(id) => drop(self.queries.insert(id, Query::Announce(key))),
                Err(error) => {
                    tracing::warn!(%error, "cannot announce a root");
                    self.announcer.done(&key, false, now);
                    self.announced.remove(&key);
                }
            }
        }
    }

    pub(super) fn rendezvous_due(&mut self, now: Instant) {
        if !self.rendezvous.running && now >= self.rendezvous.next {
            let enough = self.state.book.read().adit_peers() >= ENOUGH_ADIT_PEERS;
            if enough || self.routing_empty() || self.queries.len() >= MAX_LOOKUPS {
                self.rendezvous.visited(enough, now);
            } else {
                self.rendezvous.running = true;
                let key = record_key(&self.config.network.rendezvous_key());
                let id = self.swarm.behaviour_mut().kad.get_providers(key);
                self.queries.insert(id, Query::Rendezvous);
            }
        }
    }

    fn routing_empty(&mut self) -> bool {
        self.swarm.behaviour_mut().kad.kbuckets().all(|bucket| bucket.is_empty())
    }

    pub(super) fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => {
                let now = Instant::now();
                self.announcer.network_found(now);
                self.rendezvous.soon(now);
            }
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.on_query(id, result, step.last);
            }
            kad::Event::ModeChanged { new_mode } => tracing::info!(%new_mode, "DHT mode"),
            _ => {}
        }
    }

    fn on_query(&mut self, id: kad::QueryId, result: QueryResult, last: bool) {
        if let QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) = &result {
            self.found_providers(id, providers);
        }
        match result {
            QueryResult::GetClosestPeers(
                Ok(GetClosestPeersOk { peers, .. }) | Err(GetClosestPeersError::Timeout { peers, .. }),
            ) => self.found_peers(id, peers),
            QueryResult::GetRecord(result) => self.on_record(id, result),
            QueryResult::PutRecord(result) => self.on_published(id, result),
            _ => {}
        }
        if last && let Some(query) = self.queries.remove(&id) {
            self.query_ended(query);
        }
    }

    /// Providers are dialled while the query runs: only it knows their addresses.
    fn found_providers(&mut self, id: kad::QueryId, providers: &HashSet<PeerId>) {
        let local = *self.swarm.local_peer_id();
        let mut dial = Vec::new();
        let full = match self.queries.get_mut(&id) {
            Some(Query::Providers(query)) => {
                for peer in providers {
                    if *peer == local || query.found.contains(peer) || query.found.len() >= query.limit {
                        continue;
                    }
                    query.found.push(*peer);
                    if query.depth == Depth::Enough {
                        query.settled.get_or_insert_with(|| Instant::now() + SETTLE);
                    }
                    if query.dialled < DIALS_PER_LOOKUP {
                        query.dialled += 1;
                        dial.push(*peer);
                    }
                }
                query.found.len() >= query.limit || query.reply.is_closed()
            }
            Some(Query::Rendezvous) => {
                dial.extend(providers.iter().filter(|p| **p != local).take(ENOUGH_ADIT_PEERS));
                false
            }
            _ => return,
        };
        for peer in dial {
            // A failure is no news here: whoever wants the peer dials it again and is told.
            let _ = self.dial_known(peer);
        }
        if full {
            self.finish(id);
        }
    }

    /// When the next lookup has found enough.
    pub(super) fn next_settled(&self) -> Option<Instant> {
        self.queries.values().filter_map(Query::settled).min()
    }

    /// Ends lookups that have found enough.
    pub(super) fn settle_due(&mut self, now: Instant) {
        let settled = |query: &Query| query.settled().is_some_and(|at| now >= at);
        let due: Vec<_> = self.queries.iter().filter(|(_, q)| settled(q)).map(|(id, _)| *id).collect();
        for id in due {
            self.finish(id);
        }
    }

    pub(super) fn finish(&mut self, id: kad::QueryId) {
        if let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&id) {
            query.finish();
        }
        if let Some(query) = self.queries.remove(&id) {
            self.query_ended(query);
        }
    }

    fn found_peers(&mut self, id: kad::QueryId, peers: Vec<PeerInfo>) {
        let Some(Query::Peer { peer, .. }) = self.queries.get(&id) else { return };
        let wanted = *peer;
        if let Some(info) = peers.into_iter().find(|p| p.peer_id == wanted) {
            self.learn(wanted, info.addrs);
        }
    }

    fn query_ended(&mut self, query: Query) {
        let now = Instant::now();
        match query {
            Query::Announce(key) => {
                let reached = !self.routing_empty();
                let metrics = &self.state.metrics;
                if reached {
                    metrics.announcements.one()
                } else {
                    metrics.announcements_failed.one()
                }
                self.announcer.done(&key, reached, now);
                for reply in self.announced.remove(&key).into_iter().flatten() {
                    let _ = reply.send(reached);
                }
            }
            Query::Record(search) => search.end(),
            Query::Publish(publication) => publication.end(),
            Query::Providers(query) => drop(query.reply.send(Ok(query.found))),
            Query::Rendezvous => {
                let enough = self.state.book.read().adit_peers() >= ENOUGH_ADIT_PEERS;
                self.rendezvous.visited(enough, now);
            }
            Query::Peer { peer, replies } => {
                let addresses = self.state.book.read().addresses(&peer);
                for reply in replies {
                    let _ = reply.send(Ok(addresses.clone()));
                }
                self.looked_up(peer);
            }
        }
    }
}

fn record_key(key: &dht::Key) -> RecordKey {
    RecordKey::new(&key.to_bytes())
}
