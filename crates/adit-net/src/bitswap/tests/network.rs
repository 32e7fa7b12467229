//! Real nodes for the tests: a swarm with nothing but Bitswap, polled by a task of its own.

use std::{sync::Arc, time::Duration};

use adit_store::{Block, BlockSource, BlockStore, MemoryStore};
use bytes::Bytes;
use cid::Cid;
use futures::{StreamExt, TryStreamExt, stream};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::bitswap::{self, Config, Handle, NoFinder, Session};

#[derive(Debug, Clone, Copy)]
pub(super) enum Transport {
    Tcp,
    Quic,
}

/// Listens, and returns the swarm with its address.
pub(super) async fn listen<B: NetworkBehaviour>(behaviour: B, transport: Transport) -> (Swarm<B>, Multiaddr) {
    let muxer = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(4093);
        config
    };
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, muxer)
        .expect("noise can be set up")
        .with_quic()
        .with_behaviour(|_| behaviour)
        .expect("infallible")
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    let address = match transport {
        Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
        Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
    };
    swarm.listen_on(address.parse().expect("an address")).expect("loopback can be listened on");
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return (swarm, address);
        }
    }
}

pub(super) struct Node {
    pub(super) peer: PeerId,
    pub(super) address: Multiaddr,
    pub(super) store: Arc<dyn BlockStore>,
    pub(super) bitswap: Handle,
    dials: mpsc::Sender<Multiaddr>,
    cuts: mpsc::Sender<PeerId>,
    swarm: JoinHandle<()>,
}

impl Node {
    pub(super) async fn start(transport: Transport) -> Self {
        Self::with(Arc::new(MemoryStore::new()), Config::default(), transport).await
    }

    pub(super) async fn with(store: Arc<dyn BlockStore>, config: Config, transport: Transport) -> Self {
        let (behaviour, bitswap) = bitswap::start(Arc::clone(&store), Arc::new(NoFinder), config);
        let (mut swarm, address) = listen(behaviour, transport).await;
        let peer = *swarm.local_peer_id();
        let (dials, mut to_dial) = mpsc::channel::<Multiaddr>(8);
        let (cuts, mut to_cut) = mpsc::channel(8);
        let swarm = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = swarm.select_next_some() => {}
                    Some(address) = to_dial.recv() => swarm.dial(address).expect("can dial"),
                    Some(peer) = to_cut.recv() => drop(swarm.disconnect_peer_id(peer)),
                }
            }
        });
        Self { peer, address, store, bitswap, dials, cuts, swarm }
    }

    /// Connects, and returns when this side knows of it.
    pub(super) async fn connect(&self, peer: PeerId, address: &Multiaddr) {
        self.dials.send(address.clone()).await.expect("the swarm runs");
        until(|| self.bitswap.traffic(&peer).is_some()).await;
    }

    pub(super) async fn connect_to(&self, other: &Node) {
        self.connect(other.peer, &other.address).await;
    }

    /// Closes all connections with a peer.
    pub(super) async fn disconnect(&self, peer: PeerId) {
        self.cuts.send(peer).await.expect("the swarm runs");
    }

    /// Ends the node at once, as a crash would.
    pub(super) fn kill(&self) {
        self.swarm.abort();
    }

    pub(super) async fn add(&self, blocks: &[Block]) {
        self.store.put(blocks.to_vec()).await.expect("can put");
    }

    pub(super) async fn has_all(&self, blocks: &[Block]) -> bool {
        for block in blocks {
            if self.store.get(&block.cid).await.expect("can get").as_ref() != Some(&block.data) {
                return false;
            }
        }
        true
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Blocks with content of their own.
pub(super) fn blocks(count: usize, len: usize, seed: u64) -> Vec<Block> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let make = |n: usize| {
        let mut data = Vec::with_capacity(len + 8);
        data.extend_from_slice(&(n as u64).to_le_bytes());
        while data.len() < len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            data.extend_from_slice(&state.to_le_bytes());
        }
        data.truncate(len.max(8));
        Block::new(0x55, data)
    };
    (0..count).map(make).collect()
}

pub(super) fn cids(blocks: &[Block]) -> Vec<Cid> {
    blocks.iter().map(|block| block.cid).collect()
}

/// Reads all blocks through a session, as a reader does that looks a little ahead.
pub(super) async fn fetch(session: &Session, blocks: &[Block]) -> Result<(), adit_store::SourceError> {
    let all = cids(blocks);
    for window in all.chunks(256) {
        session.prefetch(window);
        let got: Vec<Bytes> =
            stream::iter(window).map(|cid| session.block(cid)).buffered(8).try_collect().await?;
        assert_eq!(got.len(), window.len());
    }
    Ok(())
}

/// Waits for a condition, for at most half a minute.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it becomes true in time");
}
