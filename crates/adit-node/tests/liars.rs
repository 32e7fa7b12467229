//! Hosts that lie: what they deliver is refused, the next candidate gets the job, and they are not
//! asked again.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use adit_model::{
    Acceptance, AccountSecret, Amount, Endorsement, Envelope, Evidence, Invocation, InvocationCid, JobSecret,
    NodeSecret, Outcome, OutcomeResult, Receipt, Signed, Task, TaskCid,
};
use adit_net::{Identity, JobStream, Net, NetConfig, NetEvent};
use adit_node::placement::Bid;
use adit_node::protocol::{FromHost, FromRequester, InlineBlock};
use adit_node::view::{AttemptResult, JobStats};
use adit_store::MemoryStore;
use bytes::Bytes;
use support::{TestNode, enclave, eventually, job, start};

/// How a host lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// A genuine receipt of its own, but for another invocation.
    OtherInvocation,
    /// A receipt for this job with a job key that another node endorsed.
    OtherNode,
    /// A genuine receipt beside an outcome that it does not name.
    OtherOutcome,
    /// A receipt whose signature was damaged.
    Damaged,
    /// An outcome with more fuel than the task allows.
    OverLimit,
    /// A genuine receipt with a block of the result that is not what its CID says.
    WrongBlock,
    /// An acceptance by somebody else.
    ForeignAcceptance,
    /// A message out of turn.
    OutOfTurn,
}

const LIES: [Lie; 8] = [
    Lie::OtherInvocation,
    Lie::OtherNode,
    Lie::OtherOutcome,
    Lie::Damaged,
    Lie::OverLimit,
    Lie::WrongBlock,
    Lie::ForeignAcceptance,
    Lie::OutOfTurn,
];

struct Liar {
    net: Net,
    asked: Arc<AtomicUsize>,
}

struct Keys {
    node: NodeSecret,
    operator: AccountSecret,
    job: JobSecret,
}

impl Liar {
    async fn start(lie: Lie) -> Liar {
        let keys = Keys {
            node: NodeSecret::generate().unwrap(),
            operator: AccountSecret::generate().unwrap(),
            job: JobSecret::generate().unwrap(),
        };
        let identity = Identity::from_seed(&mut keys.node.to_bytes());
        let config = NetConfig::local(identity, "test".parse().unwrap());
        let (net, mut events) = Net::start(config, Arc::new(MemoryStore::new())).await.unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, keys) = (Arc::clone(&asked), Arc::new(keys));
        tokio::spawn(async move {
            while let Some(NetEvent::Job(stream)) = events.next().await {
                let (counter, keys) = (Arc::clone(&counter), Arc::clone(&keys));
                tokio::spawn(async move { lie_to(stream, lie, &keys, &counter).await });
            }
        });
        Liar { net, asked }
    }
}

/// One conversation, up to the lie.
async fn lie_to(mut stream: JobStream, lie: Lie, keys: &Keys, asked: &AtomicUsize) -> Option<()> {
    let mut task = Bytes::new();
    while let Some(message) = stream.recv().await.ok()? {
        match FromRequester::decode(&message).unwrap() {
            FromRequester::Ask { task: asked_task, .. } => {
                asked.fetch_add(1, Ordering::SeqCst);
                task = asked_task;
                if lie == Lie::OutOfTurn {
                    say(&mut stream, FromHost::Accept { acceptance: Bytes::new() }).await?;
                    continue;
                }
                // The best offer there can be.
                let bid = Bid { bytes_missing: Some(0), remembered: true, ..Bid::default() };
                say(&mut stream, FromHost::Bid(bid)).await?;
            }
            FromRequester::Run(order) => {
                let invocation = Signed::<Invocation>::decode(&order.invocation).unwrap();
                say(&mut stream, FromHost::Accept { acceptance: acceptance(lie, keys, invocation.cid()) })
                    .await?;
                say(&mut stream, finished(lie, keys, &task, &invocation)).await?;
            }
            FromRequester::Cancel | FromRequester::Ack => {}
        }
    }
    Some(())
}

async fn say(stream: &mut JobStream, message: FromHost) -> Option<()> {
    stream.send(&message.encode()).await.ok()
}

fn acceptance(lie: Lie, keys: &Keys, invocation: InvocationCid) -> Bytes {
    let node = match lie {
        Lie::ForeignAcceptance => NodeSecret::generate().unwrap().node(),
        _ => keys.node.node(),
    };
    let promise = Acceptance {
        invocation,
        host: keys.operator.account(),
        node,
        job_key: keys.job.key(),
        price: Amount(0),
    };
    Signed::sign(promise, &keys.operator).unwrap().block().clone()
}

fn finished(lie: Lie, keys: &Keys, task_block: &Bytes, invocation: &Signed<Invocation>) -> FromHost {
    let now = invocation.body().expiry - 1;
    let task = Task::decode(task_block).unwrap();
    let content = TaskCid::of_block(b"anything").to_cid();
    let outcome = |fuel| Outcome {
        task: task.cid(),
        out: OutcomeResult::Ok { root: content, exit: 0, stdout: content, stderr: content },
        fuel,
        runtime: "lies-1".into(),
    };
    let endorser = if lie == Lie::OtherNode { NodeSecret::generate().unwrap() } else { keys.node.clone() };
    let endorsement = Endorsement {
        job_key: keys.job.key(),
        node: endorser.node(),
        runtime: "lies-1".into(),
        issued: now - 1000,
        expires: now + 1000,
    };
    let endorsement = Box::new(Signed::sign(endorsement, &endorser).unwrap().into_signed());
    let named = outcome(if lie == Lie::OverLimit { task.limits.fuel + 1 } else { 1 });
    let receipt = Receipt {
        outcome: named.cid(),
        invocation: match lie {
            Lie::OtherInvocation => InvocationCid::of_block(b"another"),
            _ => invocation.cid(),
        },
        task: task.cid(),
        host: keys.operator.account(),
        time: now,
        evidence: Evidence::None { endorsement },
        policies: Vec::new(),
        releases: Vec::new(),
    };
    let mut envelope = Envelope::sign(&receipt, &keys.job).unwrap();
    if lie == Lie::Damaged {
        envelope.eip712[10] ^= 1;
    }
    let sent = if lie == Lie::OtherOutcome { outcome(2) } else { named };
    let wrong = InlineBlock { cid: content, data: Bytes::from_static(b"something else") };
    FromHost::Finished {
        outcome: sent.encode().into(),
        envelope: envelope.encode().into(),
        blocks: if lie == Lie::WrongBlock { vec![wrong] } else { Vec::new() },
        stats: JobStats::default(),
        kept_until: 0,
    }
}

async fn meet_liar(asker: &TestNode, liar: &Liar) {
    asker.net().connect(liar.net.listen_addrs()[0].clone()).await.unwrap();
    let peer = liar.net.peer_id();
    eventually("the liar is known as an Adit node", || asker.net().peer(&peer).is_some_and(|i| i.adit)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_is_caught_and_an_honest_host_gets_the_job() {
    if enclave().is_none() {
        return;
    }
    for (at, lie) in LIES.iter().copied().enumerate() {
        // A new one each time has neither the code nor the result, so that the liar's offer is always the better.
        let honest = start(&[("host.accept", "anyone")]).await;
        let size = 3_000_000 + at;
        let data = honest.add(vec![b'x'; size]).await;
        let (asker, liar) = tokio::join!(start(&[]), Liar::start(lie));
        asker.meet(&honest).await;
        meet_liar(&asker, &liar).await;
        let code = asker.guest("tiny").await;
        let delivered = asker.run(job(code, data)).await.unwrap_or_else(|e| panic!("{lie:?}: {e}"));
        assert_eq!(delivered.view.host, Some(honest.id()), "{lie:?}");
        assert_eq!(delivered.stdout.as_deref(), Some(format!("{size}\n").as_bytes()));
        let caught = delivered.view.attempts.iter().find(|a| a.result == AttemptResult::Forged);
        let caught =
            caught.unwrap_or_else(|| panic!("{lie:?} was not caught: {:?}", delivered.view.attempts));
        assert!(caught.reason.is_some());
        assert_eq!(adit_net::node_of(&liar.net.peer_id()), Some(caught.node));
        // Once caught, not asked again.
        let before = liar.asked.load(Ordering::SeqCst);
        asker.run(job(code, data)).await.unwrap();
        assert_eq!(liar.asked.load(Ordering::SeqCst), before, "{lie:?}");
        liar.net.shutdown().await;
        asker.stop().await;
        honest.stop().await;
    }
}
