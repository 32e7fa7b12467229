//! Floods of the DHT: what strangers store here stays within its bounds, and honest look-ups go on.

use std::time::{Duration, Instant};

use adit_names::{Draft, IpnsName, IpnsRecord, Keypair};
use adit_net::{Multiaddr, NetConfig};
use cid::Cid;
use futures::StreamExt;
use libp2p::{
    StreamProtocol,
    kad::{
        self, Quorum, Record, RecordKey,
        store::{MemoryStore, MemoryStoreConfig},
    },
    multiaddr::Protocol,
    noise, tcp, yamux,
};
use multihash::Multihash;
use sha2::{Digest, Sha256};

use crate::nodes::{Node, PATIENCE, node_with, until};

const RECORDS: usize = 500;
const FLOOD: u32 = 2000;

fn digest(text: &str) -> Multihash<64> {
    Multihash::wrap(0x12, &Sha256::digest(text)).unwrap()
}

fn root(text: &str) -> Cid {
    Cid::new_v1(0x55, digest(text))
}

/// Announces many roots that nobody has, and stores junk, with one node that takes part in the DHT as any other.
async fn flood(to: Multiaddr, number: u32) {
    let store = |peer| {
        let config = MemoryStoreConfig {
            max_records: 10_000,
            max_provided_keys: 10_000,
            max_value_bytes: 64 << 10,
            ..MemoryStoreConfig::default()
        };
        MemoryStore::with_config(peer, config)
    };
    let mut swarm = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| {
            let peer = key.public().to_peer_id();
            let config = kad::Config::new(StreamProtocol::new("/adit/test/kad/1.0.0"));
            kad::Behaviour::with_config(peer, store(peer), config)
        })
        .unwrap()
        .build();
    let Some(Protocol::P2p(peer)) = to.iter().last() else { panic!("{to} names no peer") };
    swarm.behaviour_mut().add_address(&peer, to);
    let (mut sent, mut ended) = (0, 0);
    let until = Instant::now() + PATIENCE;
    while ended < FLOOD {
        assert!(Instant::now() < until, "{ended} of {FLOOD}");
        while sent < FLOOD && sent - ended < 64 {
            let key = RecordKey::new(&digest(&format!("spam {number} {sent}")).to_bytes());
            let kad = swarm.behaviour_mut();
            if sent % 4 == 3 {
                // Junk under the name of a real key, junk under no name, and more than a record may have.
                let name = IpnsName::of(&Keypair::generate_ed25519().public()).routing_key();
                let key = if sent % 8 == 3 { RecordKey::new(&name) } else { key };
                let size = if sent % 16 == 3 { 12_000 } else { 100 };
                kad.put_record(Record::new(key, vec![sent as u8; size]), Quorum::One).unwrap();
            } else {
                kad.start_providing(key).unwrap();
            }
            sent += 1;
        }
        if let libp2p::swarm::SwarmEvent::Behaviour(kad::Event::OutboundQueryProgressed { step, .. }) =
            swarm.select_next_some().await
            && step.last
        {
            ended += 1;
        }
    }
}

async fn finds(seeker: &Node, root: &Cid, provider: &Node) {
    let search = async {
        while !seeker.net.find_providers(root, 5).await.unwrap().contains(&provider.peer()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("the honest provider is found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_stay_within_bounds_and_honest_records_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let small = |config: &mut NetConfig| {
        config.limits.provider_records = RECORDS;
        config.limits.value_records = 20;
    };
    // The one that everybody's records go to. The others serve nobody, so that only it can know anything.
    let target = node_with(|config| {
        small(config);
        config.state_dir = Some(dir.path().into());
    })
    .await;
    let address = target.address("tcp");
    let member = async || {
        let contact = address.clone();
        node_with(|config| {
            small(config);
            config.dht = adit_net::DhtMode::Client;
            config.bootstrap.push(contact);
        })
        .await
    };
    let (provider, seeker) = (member().await, member().await);
    for member in [&provider, &seeker] {
        until("it knows the target", || member.net.peer(&target.peer()).is_some_and(|p| !p.agent.is_empty()))
            .await;
    }
    assert!(provider.net.provide_now(root("before")).await.unwrap());
    finds(&seeker, &root("before"), &provider).await;
    let pair = Keypair::generate_ed25519();
    let name = IpnsName::of(&pair.public());
    let record = |sequence| {
        let draft = Draft {
            value: "/ipfs/bafkqaaa".into(),
            sequence,
            valid_until: std::time::SystemTime::now() + Duration::from_secs(3600),
            ttl: Duration::from_secs(60),
        };
        IpnsRecord::create(&pair, &draft).unwrap()
    };
    assert_eq!(provider.net.publish_record(&name, &record(1)).await.unwrap(), 1);

    tokio::join!(flood(address.clone(), 1), flood(address.clone(), 2));

    finds(&seeker, &root("before"), &provider).await;
    assert!(provider.net.provide_now(root("after")).await.unwrap());
    finds(&seeker, &root("after"), &provider).await;
    let found = seeker.net.find_record(&name).await.unwrap().expect("the record");
    assert_eq!(found.sequence(), 1);
    // An older record displaces nothing, a newer one does.
    let latest = record(3);
    provider.net.publish_record(&name, &latest).await.unwrap();
    assert_eq!(seeker.net.publish_record(&name, &record(2)).await.unwrap(), 0, "nobody takes an older one");
    let found = provider.net.find_record(&name).await.unwrap().expect("the record");
    assert_eq!(found.bytes(), latest.bytes());
    let length = std::fs::metadata(dir.path().join("providers")).unwrap().len();
    assert!(length < 5 << 20, "{length} bytes on disk");
    // What was in memory is on disk, too, and no more than fits.
    target.net.shutdown().await;
    let lines = std::fs::read(dir.path().join("providers")).unwrap();
    assert!(lines.len() > 20 * RECORDS, "{} bytes on disk", lines.len());
}
