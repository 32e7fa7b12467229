//! Finding nodes that might run a job: those we are connected with, those that hold the data,
//! those that advertise.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use adit_model::{NodeId, Task};
use adit_net::{PeerId, node_of, peer_of};
use cid::Cid;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use super::directory::advertised;
use super::shared::Shared;
use crate::placement::{Candidate, Strategy};

/// Up to this many connected Adit nodes are simply all asked.
const FEW: usize = 4;
/// How long connected peers may take to say whether they have a root.
const HAVE_PATIENCE: Duration = Duration::from_millis(500);
/// How long the DHT is searched for providers. Jobs wait this long only when nobody connected
/// holds the data.
const DHT_PATIENCE: Duration = Duration::from_secs(4);
/// Providers taken from the DHT for each root.
const PROVIDERS: usize = 20;
/// Inputs that are searched for; the rest are found with them or fetched.
const ROOTS: usize = 4;

/// Some candidates. The end of the channel is the end of the search.
#[derive(Debug)]
pub(crate) struct Found(pub(crate) Vec<Candidate>);

/// Begins a search. Dropping the receiver ends it.
pub(crate) fn start(shared: &Arc<Shared>, task: &Task, strategy: Strategy) -> mpsc::Receiver<Found> {
    let (found, receiver) = mpsc::channel(4);
    let known = known(shared);
    match strategy {
        Strategy::At(node) => {
            // Even a node never heard of may be reachable by its name.
            let candidate = known.get(&node).cloned().unwrap_or_else(|| stranger(node));
            let _ = found.try_send(Found(vec![candidate]));
        }
        Strategy::Near => {
            let _ = found.try_send(Found(known.into_values().collect()));
        }
        Strategy::Cost => {
            let roots: Vec<Cid> =
                task.inputs.values().map(|i| *i.root()).chain(task.stdin).take(ROOTS).collect();
            let connected = |node: &NodeId| shared.net.is_connected(&peer_of(node));
            let few = known.keys().filter(|node| connected(node)).count() <= FEW;
            let early = |c: &Candidate| Candidate { ask_early: few && connected(&c.node), ..c.clone() };
            let all = known.values().map(early).collect();
            let _ = found.try_send(Found(all));
            // Without inputs nobody holds them: whoever has the code says so in its bid.
            if !roots.is_empty() {
                let shared = Arc::clone(shared);
                tokio::spawn(async move {
                    tokio::select! {
                        () = search(&shared, roots, known, &found) => {}
                        () = found.closed() => {}
                    }
                });
            }
        }
    }
    receiver
}

fn stranger(node: NodeId) -> Candidate {
    Candidate { node, rtt_us: None, bandwidth: None, holds_inputs: false, ask_early: false }
}

/// Nodes known to run Adit: connected ones, and those that advertise; without those caught lying.
pub(crate) fn known(shared: &Shared) -> HashMap<NodeId, Candidate> {
    let advertising: HashSet<NodeId> = advertised(shared).iter().map(|a| a.body().node).collect();
    let mut known = HashMap::new();
    for info in shared.net.peers() {
        let Some(node) = node_of(&info.peer).filter(|node| !shared.directory.is_distrusted(node)) else {
            continue;
        };
        if (info.adit && info.connected) || advertising.contains(&node) {
            known.insert(
                node,
                Candidate {
                    rtt_us: info.rtt.map(|rtt| rtt.as_micros() as u64),
                    bandwidth: info.bandwidth,
                    ..stranger(node)
                },
            );
        }
    }
    for node in advertising {
        if !shared.directory.is_distrusted(&node) {
            known.entry(node).or_insert_with(|| stranger(node));
        }
    }
    known
}

/// Who holds the inputs: connected peers first, then the DHT.
async fn search(
    shared: &Arc<Shared>,
    roots: Vec<Cid>,
    known: HashMap<NodeId, Candidate>,
    found: &mpsc::Sender<Found>,
) {
    let beside = shared.net.beside();
    let mut holders: Option<HashSet<NodeId>> = None;
    let asked = roots.iter().map(|root| shared.net.have(root, None, HAVE_PATIENCE));
    for peers in futures::future::join_all(asked).await {
        let have: HashSet<NodeId> = nodes_at(&peers, &beside).collect();
        holders = Some(match holders {
            None => have,
            Some(all) => all.intersection(&have).copied().collect(),
        });
    }
    let holding = |node: &NodeId| known.get(node).map(|c| Candidate { holds_inputs: true, ..c.clone() });
    let near: Vec<Candidate> = holders.unwrap_or_default().iter().filter_map(holding).collect();
    if !near.is_empty() {
        let _ = found.send(Found(near)).await;
        return;
    }
    let lookups: FuturesUnordered<_> = roots
        .into_iter()
        .map(|root| async move {
            let looked =
                tokio::time::timeout(DHT_PATIENCE, shared.net.find_providers(&root, PROVIDERS)).await;
            looked.ok().and_then(Result::ok).unwrap_or_default()
        })
        .collect();
    let mut lookups = std::pin::pin!(lookups);
    while let Some(peers) = lookups.next().await {
        // Looked up again: who was found may have told of a neighbour meanwhile.
        let beside = shared.net.beside();
        let candidates: Vec<Candidate> = nodes_at(&peers, &beside)
            .filter(|node| *node != shared.me() && !shared.directory.is_distrusted(node))
            .filter_map(|node| {
                let info = shared.net.peer(&peer_of(&node));
                let adit = info.as_ref().is_some_and(|i| i.adit)
                    || shared.net.advertisement(&peer_of(&node)).is_some();
                adit.then(|| Candidate {
                    rtt_us: info.as_ref().and_then(|i| i.rtt).map(|rtt| rtt.as_micros() as u64),
                    bandwidth: info.and_then(|i| i.bandwidth),
                    holds_inputs: true,
                    ..stranger(node)
                })
            })
            .collect();
        if !candidates.is_empty() {
            let _ = found.send(Found(candidates)).await;
        }
    }
}

/// The nodes of Adit that hold what these peers hold: the peers themselves, as far as they can be nodes, and those that stand
/// beside them.
fn nodes_at(peers: &[PeerId], beside: &HashMap<PeerId, Vec<NodeId>>) -> impl Iterator<Item = NodeId> {
    let beside = peers.iter().filter_map(|peer| beside.get(peer)).flatten().copied();
    let mut seen = HashSet::new();
    let all: Vec<NodeId> =
        peers.iter().filter_map(node_of).chain(beside).filter(|node| seen.insert(*node)).collect();
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use adit_model::NodeSecret;

    use super::*;

    #[test]
    fn a_kubo_leads_to_the_nodes_beside_it() {
        let node = |n: u8| NodeSecret::from_bytes(&[n; 32]).node();
        let kubo = PeerId::random();
        let beside = HashMap::from([(kubo, vec![node(2), node(1)]), (peer_of(&node(9)), vec![node(3)])]);
        let at = |peers: &[PeerId]| nodes_at(peers, &beside).collect::<Vec<_>>();
        assert_eq!(at(&[kubo]), [node(2), node(1)]);
        assert_eq!(at(&[kubo, peer_of(&node(1)), kubo]), [node(1), node(2)], "each once");
        // A Kubo's Ed25519 peer id could be a node's; whether it is one, whoever asks knows.
        assert_eq!(at(&[peer_of(&node(9))]), [node(9), node(3)]);
        assert_eq!(at(&[PeerId::random()]), []);
    }
}
