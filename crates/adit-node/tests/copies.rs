//! Copies between nodes where one of the two does not keep to the rules.

mod support;

use std::sync::Arc;
use std::time::Duration;

use adit_model::{AccountSecret, KeepOrder, NodeId, NodeSecret, Signed};
use adit_net::{Identity, JobStream, Net, NetConfig, NetEvent, NetEvents, node_of};
use adit_node::host::RefusalKind;
use adit_node::replicas::message::{FromKeeper, FromOwner};
use adit_node::replicas::pin_name;
use adit_store::import::{self, ImportOptions};
use adit_store::{BlockStore, MemoryStore, PinOptions};
use cid::Cid;
use support::{TestNode, enclave, eventually, start};

/// A node of the network that says what it likes.
struct Stranger {
    net: Net,
    events: NetEvents,
    account: AccountSecret,
    store: Arc<dyn BlockStore>,
}

impl Stranger {
    async fn start() -> Self {
        let identity = Identity::from_seed(&mut NodeSecret::generate().unwrap().to_bytes());
        let store: Arc<dyn BlockStore> = Arc::new(MemoryStore::new());
        let config = NetConfig::local(identity, "test".parse().unwrap());
        let (net, events) = Net::start(config, Arc::clone(&store)).await.unwrap();
        Stranger { net, events, account: AccountSecret::generate().unwrap(), store }
    }

    fn node(&self) -> NodeId {
        node_of(&self.net.peer_id()).unwrap()
    }

    async fn meet(&self, node: &TestNode) {
        self.net.connect(node.net().listen_addrs()[0].clone()).await.unwrap();
        let peer = self.net.peer_id();
        eventually("the stranger is known", || node.net().peer(&peer).is_some_and(|i| i.adit)).await;
    }

    async fn open(&self, keeper: &TestNode) -> JobStream {
        self.net.open_keep(keeper.net().peer_id()).await.unwrap()
    }

    fn order(&self, keeper: &TestNode, root: Cid, bytes: u64) -> KeepOrder {
        KeepOrder {
            root,
            bytes,
            blocks: 100,
            owner: self.node(),
            keeper: keeper.id(),
            account: self.account.account(),
            until: adit_node::clock::unix_seconds() + 60,
        }
    }

    /// Sends an order on a stream of its own; gives the last word.
    async fn keep(&self, keeper: &TestNode, order: KeepOrder) -> FromKeeper {
        let order = Signed::sign(order, &self.account).unwrap().block().to_vec();
        self.say(keeper, &FromOwner::Keep { order }).await
    }

    async fn say(&self, keeper: &TestNode, message: &FromOwner) -> FromKeeper {
        let mut stream = self.open(keeper).await;
        stream.send(&message.encode()).await.unwrap();
        loop {
            match hear(&mut stream).await {
                FromKeeper::Working { .. } => {}
                last => return last,
            }
        }
    }
}

async fn hear(stream: &mut JobStream) -> FromKeeper {
    FromKeeper::decode(&stream.recv().await.unwrap().unwrap()).unwrap()
}

fn kind(answer: &FromKeeper) -> Option<RefusalKind> {
    if let FromKeeper::Refuse(refusal) = answer { Some(refusal.kind) } else { None }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_lies_gets_nothing_kept() {
    if enclave().is_none() {
        return;
    }
    let settings = [("pins.accept", "anyone"), ("pins.max-bytes", "4MiB"), ("pins.max-bytes-each", "2MiB")];
    let keeper = start(&settings).await;
    let owner = Stranger::start().await;
    owner.meet(&keeper).await;
    let content: Vec<u8> = (0..1_500_000u32).flat_map(|n| (n as u16).to_le_bytes()).collect();
    let root = import::bytes(&owner.store, content, &ImportOptions::default()).await.unwrap().root;
    let small = import::bytes(&owner.store, vec![7; 1000], &ImportOptions::default()).await.unwrap().root;
    let pins = async || keeper.repo().pins().await.unwrap();

    // More than anybody gets, said openly.
    assert_eq!(
        kind(&owner.keep(&keeper, owner.order(&keeper, root, 3_000_100)).await),
        Some(RefusalKind::Limit)
    );
    // The same, said to be little: it stops where the order ends.
    assert_eq!(kind(&owner.keep(&keeper, owner.order(&keeper, root, 1000)).await), Some(RefusalKind::Limit));
    let few = KeepOrder { blocks: 1, ..owner.order(&keeper, root, 2_000_000) };
    assert!(kind(&owner.keep(&keeper, few).await).is_some());
    // For somebody else, at somebody else's, too late.
    let other = NodeSecret::generate().unwrap().node();
    for order in [
        KeepOrder { owner: other, ..owner.order(&keeper, small, 1000) },
        KeepOrder { keeper: other, ..owner.order(&keeper, small, 1000) },
    ] {
        assert_eq!(kind(&owner.keep(&keeper, order).await), Some(RefusalKind::Malformed));
    }
    let late = KeepOrder { until: 5, ..owner.order(&keeper, small, 1000) };
    assert_eq!(kind(&owner.keep(&keeper, late).await), Some(RefusalKind::Expired));
    // A signature that was damaged.
    let order = Signed::sign(owner.order(&keeper, small, 1000), &owner.account).unwrap();
    let mut forged = order.block().to_vec();
    *forged.iter_mut().rev().nth(3).unwrap() ^= 1;
    assert_eq!(
        kind(&owner.say(&keeper, &FromOwner::Keep { order: forged }).await),
        Some(RefusalKind::Malformed)
    );
    assert!(pins().await.is_empty(), "{:?}", pins().await);

    // No message at all: an answer, and the stream is over.
    let mut stream = owner.open(&keeper).await;
    stream.send(&[0xff; 300]).await.unwrap();
    assert_eq!(kind(&hear(&mut stream).await), Some(RefusalKind::Malformed));
    assert!(!matches!(stream.recv().await, Ok(Some(_))));
    // Questions without end.
    let mut stream = owner.open(&keeper).await;
    let ask = FromOwner::Ask { root: small, bytes: 1, account: owner.account.account() }.encode();
    let mut answers = 0;
    while stream.send(&ask).await.is_ok() && matches!(stream.recv().await, Ok(Some(_))) {
        answers += 1;
        assert!(answers < 100, "one stream is answered for ever");
    }
    // More at a time than one may: content that nobody has is waited for, by a few.
    let mut waiting = Vec::new();
    let mut busy = 0;
    for n in 0..12u8 {
        let nowhere = adit_model::TaskCid::of_block(&[n]).to_cid();
        let order = Signed::sign(owner.order(&keeper, nowhere, 1000), &owner.account).unwrap();
        let mut stream = owner.open(&keeper).await;
        stream.send(&FromOwner::Keep { order: order.block().to_vec() }.encode()).await.unwrap();
        // Either a sign of life or the refusal.
        busy += usize::from(kind(&hear(&mut stream).await) == Some(RefusalKind::Busy));
        waiting.push(stream);
    }
    assert!((8..12).contains(&busy), "{busy} of 12 were refused");
    drop(waiting);

    // What is in order is kept, shown, renewed and let go; nobody else can have it let go.
    let mut kept = owner.keep(&keeper, owner.order(&keeper, small, 1100)).await;
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while kind(&kept) == Some(RefusalKind::Busy) && tokio::time::Instant::now() < end {
        // Until those that were dropped are noticed.
        tokio::time::sleep(Duration::from_millis(100)).await;
        kept = owner.keep(&keeper, owner.order(&keeper, small, 1100)).await;
    }
    assert!(matches!(kept, FromKeeper::Kept { .. }), "{kept:?}");
    assert_eq!(pins().await[0].name, pin_name(&owner.node()));
    let check = FromOwner::Check { root: small, block: small, nonce: [3; 16] };
    assert!(matches!(owner.say(&keeper, &check).await, FromKeeper::Proof { .. }));
    let other = Stranger::start().await;
    other.meet(&keeper).await;
    assert_eq!(kind(&other.say(&keeper, &check).await), Some(RefusalKind::Expired));
    assert_eq!(other.say(&keeper, &FromOwner::Release { root: small }).await, FromKeeper::Released);
    assert_eq!(pins().await.len(), 1);
    let far = KeepOrder { until: u64::MAX, ..owner.order(&keeper, small, 1100) };
    let FromKeeper::Kept { until } = owner.keep(&keeper, far).await else { panic!("not renewed") };
    assert!(until < adit_node::clock::unix_seconds() + 8 * 86_400, "promised for ever");
    assert_eq!(owner.say(&keeper, &FromOwner::Release { root: small }).await, FromKeeper::Released);
    assert!(pins().await.is_empty());
    owner.net.shutdown().await;
    other.net.shutdown().await;
    keeper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_cannot_show_its_copy_is_replaced() {
    if enclave().is_none() {
        return;
    }
    let owner = start(&[("pins.check", "500ms"), ("pins.lease", "20s")]).await;
    let root = owner.add(vec![9; 200_000]).await;
    owner.repo().pin(&root, &owner.repo().blocks(), PinOptions::default()).await.unwrap();
    let mut liar = Stranger::start().await;
    liar.meet(&owner).await;
    let node = liar.node();
    // It promises everything and has nothing.
    let lying = tokio::spawn(async move {
        while let Some(event) = liar.events.next().await {
            let NetEvent::Keep(mut stream) = event else { continue };
            tokio::spawn(async move {
                while let Ok(Some(message)) = stream.recv().await {
                    let answer = match FromOwner::decode(&message).unwrap() {
                        FromOwner::Ask { .. } => FromKeeper::Offer { free: 1 << 40, have: true },
                        FromOwner::Keep { .. } => FromKeeper::Kept { until: u64::MAX },
                        FromOwner::Check { .. } => FromKeeper::Proof { hash: [0; 32] },
                        FromOwner::Release { .. } => FromKeeper::Released,
                    };
                    if stream.send(&answer.encode()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let placed = owner.replicate(root, 2).await.unwrap();
    assert_eq!((placed.placed, placed.keepers[0].node), (2, node));
    let honest = start(&[("pins.accept", "anyone")]).await;
    owner.meet(&honest).await;
    eventually("the liar is found out and the honest one has the copy", || {
        let now = owner.replicas(&root).unwrap();
        now.placed == 2 && now.keepers[0].node == honest.id()
    })
    .await;
    let now = owner.replicas(&root).unwrap();
    let told = now.refused.iter().find(|refused| refused.node == node);
    assert!(told.is_some_and(|refused| refused.reason.contains("could not show")), "{now:?}");
    lying.abort();
    owner.stop().await;
    honest.stop().await;
}
