//! Sources that are no peers, beside peers in one session.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use adit_store::{Block, BlockSource, SourceError};
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;

use super::network::{Node, Transport, blocks, cids, fetch, until};
use crate::bitswap::{Outside, OutsideError, OutsideFinder};

const SIZE: usize = 256 << 10;

/// A source with a certain speed.
struct Shelf {
    name: &'static str,
    blocks: HashMap<Cid, Bytes>,
    /// For one block.
    takes: Duration,
    asked: AtomicUsize,
    given: AtomicU64,
    /// Answers nothing any more.
    stuck: AtomicBool,
    /// Fails from then on.
    broken: AtomicBool,
}

impl Shelf {
    fn new(name: &'static str, blocks: &[Block], takes: Duration) -> Arc<Self> {
        Arc::new(Self {
            name,
            blocks: blocks.iter().map(|block| (block.cid, block.data.clone())).collect(),
            takes,
            asked: AtomicUsize::new(0),
            given: AtomicU64::new(0),
            stuck: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl Outside for Shelf {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    async fn block(&self, cid: &Cid) -> Result<Bytes, OutsideError> {
        self.asked.fetch_add(1, SeqCst);
        tokio::time::sleep(self.takes).await;
        if self.stuck.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.broken.load(SeqCst) {
            return Err(OutsideError::Failed("it broke".into()));
        }
        let data = self.blocks.get(cid).cloned().ok_or(OutsideError::Absent)?;
        self.given.fetch_add(data.len() as u64, SeqCst);
        Ok(data)
    }

    fn arrived(&self) -> u64 {
        self.given.load(SeqCst)
    }

    fn parallel(&self) -> usize {
        8
    }

    fn is_ready(&self) -> bool {
        !self.broken.load(SeqCst)
    }
}

fn total(blocks: &[Block]) -> u64 {
    blocks.iter().map(|block| block.data.len() as u64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_alone_is_enough_and_is_asked_once_for_each_block() {
    let node = Node::start(Transport::Tcp).await;
    let all = blocks(100, SIZE, 1);
    let shelf = Shelf::new("shelf", &all, Duration::from_millis(2));
    node.bitswap.ask_outside(vec![shelf.clone()], None);
    let session = node.bitswap.session(vec![]);
    fetch(&session, &all).await.unwrap();
    assert!(node.has_all(&all).await, "it is in the store, as everything handed out is");
    assert_eq!(shelf.asked.load(SeqCst), all.len());
    let received = session.received();
    assert_eq!((received.len(), received.values().sum::<u64>()), (1, total(&all)));

    let begun = Instant::now();
    let other = blocks(1, 100, 2);
    assert!(matches!(session.block(&other[0].cid).await, Err(SourceError::NotFound(_))));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_and_peers_share_the_work() {
    let (peer, node) = (Node::start(Transport::Tcp).await, Node::start(Transport::Tcp).await);
    node.connect_to(&peer).await;
    let all = blocks(400, SIZE, 3);
    peer.add(&all).await;
    let shelf = Shelf::new("shelf", &all, Duration::from_millis(10));
    node.bitswap.ask_outside(vec![shelf.clone()], None);
    let session = node.bitswap.session(vec![peer.peer]);
    fetch(&session, &all).await.unwrap();
    assert!(node.has_all(&all).await);
    let received = session.received();
    assert_eq!((received.len(), received.values().sum::<u64>()), (2, total(&all)), "each block counts once");
    assert!(received.values().all(|bytes| *bytes > total(&all) / 50), "both were used: {received:?}");
    // What both were asked for is the end of the transfer and what was slow, not all.
    let sent = shelf.given.load(SeqCst) + node.bitswap.traffic(&peer.peer).unwrap().received;
    assert!(sent < total(&all) * 5 / 4, "{sent} bytes came for {}", total(&all));
}

/// The source answers before any peer could say that it has a block too.
#[tokio::test(flavor = "multi_thread")]
async fn connected_peers_take_part_without_a_hint() {
    let (peer, node) = (Node::start(Transport::Tcp).await, Node::start(Transport::Tcp).await);
    node.connect_to(&peer).await;
    let all = blocks(600, SIZE, 8);
    peer.add(&all).await;
    let shelf = Shelf::new("shelf", &all, Duration::from_millis(10));
    node.bitswap.ask_outside(vec![shelf.clone()], None);
    let session = node.bitswap.session(vec![]);
    fetch(&session, &all).await.unwrap();
    let received = session.received();
    assert!(received.get(&peer.peer).is_some_and(|bytes| *bytes > total(&all) / 10), "{received:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_midway_the_other_goes_on() {
    for peer_dies in [true, false] {
        let (peer, node) = (Node::start(Transport::Tcp).await, Node::start(Transport::Tcp).await);
        node.connect_to(&peer).await;
        let all = blocks(300, SIZE, 4);
        peer.add(&all).await;
        let shelf = Shelf::new("shelf", &all, Duration::from_millis(10));
        node.bitswap.ask_outside(vec![shelf.clone()], None);
        let session = node.bitswap.session(vec![peer.peer]);
        let (first, rest) = all.split_at(100);
        fetch(&session, first).await.unwrap();
        match peer_dies {
            true => peer.kill(),
            false => shelf.broken.store(true, SeqCst),
        }
        fetch(&session, rest).await.unwrap();
        assert!(node.has_all(&all).await);
        if !peer_dies {
            // It is back: a new session counts on it again.
            shelf.broken.store(false, SeqCst);
            peer.kill();
            until(|| node.bitswap.traffic(&peer.peer).is_none()).await;
            let more = blocks(3, SIZE, 40);
            let shelf = Shelf::new("another", &more, Duration::ZERO);
            node.bitswap.ask_outside(vec![shelf], None);
            fetch(&node.bitswap.session(vec![]), &more).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_hangs_holds_nobody_up_for_long() {
    let (peer, node) = (Node::start(Transport::Tcp).await, Node::start(Transport::Tcp).await);
    node.connect_to(&peer).await;
    let all = blocks(200, SIZE, 5);
    peer.add(&all).await;
    let shelf = Shelf::new("shelf", &all, Duration::ZERO);
    shelf.stuck.store(true, SeqCst);
    node.bitswap.ask_outside(vec![shelf.clone()], None);
    let begun = Instant::now();
    fetch(&node.bitswap.session(vec![peer.peer]), &all).await.unwrap();
    assert!(node.has_all(&all).await && shelf.asked.load(SeqCst) > 0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

/// Finds one shelf, for everything.
struct Librarian(Arc<Shelf>);

#[async_trait]
impl OutsideFinder for Librarian {
    async fn find(&self, _: Cid) -> Vec<Arc<dyn Outside>> {
        vec![self.0.clone()]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn found_sources_are_asked_by_the_session_that_looked_for_them() {
    let (peer, node) = (Node::start(Transport::Tcp).await, Node::start(Transport::Tcp).await);
    node.connect_to(&peer).await;
    let (lost, known) = (blocks(50, SIZE, 6), blocks(50, SIZE, 7));
    peer.add(&known).await;
    let shelf = Shelf::new("shelf", &lost, Duration::ZERO);
    node.bitswap.ask_outside(vec![], Some(Arc::new(Librarian(shelf.clone()))));
    let session = node.bitswap.session(vec![]);
    fetch(&session, &lost).await.unwrap();
    let asked = shelf.asked.load(SeqCst);
    assert_eq!(asked, lost.len());
    fetch(&node.bitswap.session(vec![peer.peer]), &known).await.unwrap();
    assert_eq!(shelf.asked.load(SeqCst), asked, "what peers have is not asked of it");
    assert!(node.bitswap.have(&cids(&lost)[0], None, Duration::from_secs(5)).await.is_empty());
    assert_eq!(shelf.asked.load(SeqCst), asked, "and probes are for peers");
}
