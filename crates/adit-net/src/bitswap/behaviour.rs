//! The part that the swarm polls: it makes a handler for every connection, tells the engine which
//! connections there are, and dials and closes on the engine's behalf. Messages never come here.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure, ListenFailure},
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::mpsc;

use super::{
    Config,
    budget::{Budgets, PeerAccount},
    handler::Handler,
    link::Link,
    receive::{FromPeer, Inbound},
    server::{ANSWERS_QUEUE, Servers, Serving},
    session::Accounts,
};
use crate::address::is_relayed;

/// Addresses remembered for redialling peers that the engine had closed.
const MAX_ADDRESSES: usize = 1024;

/// What the engine wants of the swarm.
#[derive(Debug)]
pub(crate) enum Order {
    Dial(PeerId),
    Close(PeerId),
    CloseOne(PeerId, ConnectionId),
}

/// What the engine learns of the swarm.
#[derive(Debug)]
pub(crate) enum Notice {
    Opened(Arc<Link>),
    Closed(PeerId, ConnectionId),
    DialFailed(PeerId),
    /// Whether a peer speaks Bitswap turned out.
    Speaks(PeerId, bool),
}

/// Bitswap's [`NetworkBehaviour`]. It emits no events: use the [`Handle`](super::Handle).
pub struct Behaviour {
    pub(crate) config: Arc<Config>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) accounts: Accounts,
    pub(crate) serving: Serving,
    /// To the engine: messages, bounded; and notices, few for each connection.
    pub(crate) messages: mpsc::Sender<FromPeer>,
    pub(crate) notices: mpsc::UnboundedSender<Notice>,
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    /// Connections that were made but not announced yet.
    pub(crate) nascent: HashMap<ConnectionId, Arc<Link>>,
    pub(crate) addresses: HashMap<PeerId, Multiaddr>,
    pub(crate) out: VecDeque<ToSwarm<std::convert::Infallible, std::convert::Infallible>>,
}

impl Behaviour {
    fn handler(&mut self, peer: PeerId, id: ConnectionId, addresses: &[&Multiaddr]) -> Handler {
        let relayed = addresses.iter().any(|address| is_relayed(address));
        let known = self.accounts.lock().get(&peer).cloned();
        let account = known.unwrap_or_else(|| PeerAccount::new(Arc::clone(&self.budgets), &self.config));
        let link = Link::new(peer, id, relayed, account);
        self.nascent.insert(id, Arc::clone(&link));
        let (sender, answers) = mpsc::channel(ANSWERS_QUEUE);
        let inbound = Inbound {
            config: Arc::clone(&self.config),
            link: Arc::clone(&link),
            engine: self.messages.clone(),
            notices: self.notices.clone(),
            server: Servers::new(self.serving.clone(), sender),
        };
        Handler::new(Arc::clone(&self.config), link, Arc::new(inbound), answers)
    }

    /// Tells the engine. Its end is ours: a node that serves no blocks should not pretend to live.
    fn notify(&self, notice: Notice) {
        assert!(self.notices.send(notice).is_ok(), "the bitswap engine has ended");
    }

    fn dial(peer: PeerId) -> DialOpts {
        DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing).build()
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = std::convert::Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, id, &[local, remote]))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        Ok(peer.and_then(|peer| self.addresses.get(&peer).cloned()).into_iter().collect())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.addresses.insert(peer, address.clone());
        if self.addresses.len() > MAX_ADDRESSES
            && let Some(any) = self.addresses.keys().find(|other| **other != peer).copied()
        {
            self.addresses.remove(&any);
        }
        Ok(self.handler(peer, id, &[address]))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. }) => {
                if let Some(link) = self.nascent.remove(&connection_id) {
                    let (peer, account) = (link.peer, Arc::clone(&link.account));
                    self.notify(Notice::Opened(link));
                    // From here on handles know the peer, and the engine does so before any
                    // command that follows.
                    self.accounts.lock().entry(peer).or_insert(account);
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id,
                remaining_established,
                ..
            }) => {
                self.notify(Notice::Closed(peer_id, connection_id));
                if remaining_established == 0 {
                    self.accounts.lock().remove(&peer_id);
                }
            }
            FromSwarm::DialFailure(DialFailure { peer_id, error, connection_id }) => {
                self.nascent.remove(&connection_id);
                if let Some(peer) = peer_id
                    && !matches!(error, DialError::DialPeerConditionFalse(_))
                {
                    self.addresses.remove(&peer);
                    self.notify(Notice::DialFailed(peer));
                }
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.nascent.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer_id: PeerId,
        connection: ConnectionId,
        fault: THandlerOutEvent<Self>,
    ) {
        tracing::debug!(peer = %peer_id, ?fault, "closing a connection");
        self.out
            .push_back(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) });
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.out.pop_front() {
            return Poll::Ready(event);
        }
        match self.orders.poll_recv(cx) {
            Poll::Ready(Some(Order::Dial(peer))) => Poll::Ready(ToSwarm::Dial { opts: Self::dial(peer) }),
            Poll::Ready(Some(Order::Close(peer_id))) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::All })
            }
            Poll::Ready(Some(Order::CloseOne(peer_id, id))) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) })
            }
            Poll::Ready(None) => panic!("the bitswap engine has ended"),
            Poll::Pending => Poll::Pending,
        }
    }
}
