//! What strangers get of a node that relays: enough to find a direct way, not enough to carry data.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adit_net::{Multiaddr, PeerId, Scope};
use futures::StreamExt;
use libp2p::{
    Swarm,
    kad::{self, InboundRequest, Quorum, Record, RecordKey, StoreInserts, store::MemoryStore},
    multiaddr::Protocol,
    noise, relay,
    swarm::{
        NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};

use crate::nodes::{Node, PATIENCE, node_with};

const KAD: libp2p::StreamProtocol = libp2p::StreamProtocol::new("/adit/test/relayed/1.0.0");

/// A stranger that is no Adit node: it can be called through a relay, and takes what is sent to it.
#[derive(NetworkBehaviour)]
struct Stranger {
    relay: relay::client::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
}

fn stranger() -> Swarm<Stranger> {
    libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key, relay| {
            let peer = key.public().to_peer_id();
            let mut config = kad::Config::new(KAD);
            config.set_record_filtering(StoreInserts::FilterBoth);
            let mut kad = kad::Behaviour::with_config(peer, MemoryStore::new(peer), config);
            kad.set_mode(Some(kad::Mode::Server));
            Stranger { relay, kad }
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

/// A node that relays: it was told to, and takes itself to be reachable.
async fn relay() -> Node {
    node_with(|config| {
        config.scope = Scope::Internet;
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        config.external = vec!["/ip4/45.0.0.1/tcp/4711".parse().unwrap()];
        config.relay_server = true;
    })
    .await
}

/// A stranger with a reservation, and the address at which it can be called.
async fn called(relay: &Node) -> (Swarm<Stranger>, Multiaddr) {
    let mut swarm = stranger();
    let through = relay.address("tcp").with(Protocol::P2pCircuit);
    swarm.listen_on(through.clone()).unwrap();
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(StrangerEvent::Relay(relay::client::Event::ReservationReqAccepted {
                ..
            })) => break,
            SwarmEvent::ListenerClosed { reason, .. } => panic!("no reservation: {reason:?}"),
            _ => {}
        }
    }
    let address = through.with_p2p(*swarm.local_peer_id()).unwrap();
    (swarm, address)
}

/// Opens one more connection.
async fn call(caller: &mut Swarm<Stranger>, peer: PeerId, address: &Multiaddr) -> Result<(), String> {
    let dial = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address.clone()]);
    let dial = dial.build();
    let connection = dial.connection_id();
    caller.dial(dial).unwrap();
    loop {
        match caller.select_next_some().await {
            SwarmEvent::ConnectionEstablished { connection_id, .. } if connection_id == connection => {
                return Ok(());
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. }
                if connection_id == connection =>
            {
                return Err(format!("{error:?}"));
            }
            _ => {}
        }
    }
}

/// What a stranger does that is called; the bytes of records that came are counted.
async fn answer(mut callee: Swarm<Stranger>, came: Arc<AtomicUsize>) {
    loop {
        if let SwarmEvent::Behaviour(StrangerEvent::Kad(kad::Event::InboundRequest {
            request: InboundRequest::PutRecord { record: Some(record), .. },
        })) = callee.select_next_some().await
        {
            came.fetch_add(record.value.len(), Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relayed_connection_carries_little() {
    let relay = relay().await;
    let (callee, address) = called(&relay).await;
    let callee_id = *callee.local_peer_id();
    let came = Arc::new(AtomicUsize::new(0));
    let answering = tokio::spawn(answer(callee, came.clone()));
    let mut caller = stranger();
    call(&mut caller, callee_id, &address).await.unwrap();

    let send = |caller: &mut Swarm<Stranger>, number: u8| {
        let record = Record::new(RecordKey::new(&[number]), vec![number; 10_000]);
        caller.behaviour_mut().kad.put_record_to(record, std::iter::once(callee_id), Quorum::One);
    };
    // One after the other, until the relay has had enough.
    let mut number = 0;
    send(&mut caller, number);
    let closed = async {
        loop {
            match caller.select_next_some().await {
                SwarmEvent::Behaviour(StrangerEvent::Kad(kad::Event::OutboundQueryProgressed { .. })) => {
                    number += 1;
                    assert!(number < 40, "400 kB went through");
                    send(&mut caller, number);
                }
                SwarmEvent::ConnectionClosed { peer_id, .. } if peer_id == callee_id => break,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the relay ends it");
    answering.abort();
    let came = came.load(Ordering::Relaxed);
    assert!((30_000..=128 << 10).contains(&came), "{came} bytes came through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_has_few_relayed_connections_at_once() {
    let relay = relay().await;
    let (callee, address) = called(&relay).await;
    let callee_id = *callee.local_peer_id();
    let answering = tokio::spawn(answer(callee, Arc::default()));
    let calls = async {
        let mut caller = stranger();
        for _ in 0..4 {
            call(&mut caller, callee_id, &address).await.unwrap();
        }
        call(&mut caller, callee_id, &address).await.expect_err("a fifth is refused");
        // That is the caller's limit: others still get through.
        call(&mut stranger(), callee_id, &address).await.unwrap();
    };
    tokio::time::timeout(PATIENCE, calls).await.expect("answers");
    answering.abort();
}
