//! Finding keepers for a root.

use std::sync::Arc;

use adit_model::NodeId;
use adit_net::{Multiaddr, peer_of};
use cid::Cid;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::super::discovery;
use super::super::shared::Shared;
use super::ReplicateError;
use super::keepers::{OFFER_PATIENCE, Talk, Trouble, silent};
use crate::clock::unix_ms;
use crate::placement::Candidate;
use crate::replicas::message::{FromKeeper, FromOwner};
use crate::replicas::rank::{self, Area, Offer, Stand};
use crate::replicas::set::Rules;

/// Nodes asked for an offer in one round, the nearest.
const ASKED: usize = 64;

/// Finds keepers: asks those known, ranks those who offer, and has as many as are missing fetch at the same time; when
/// one fails the next is asked.
pub(super) async fn place_copies(
    shared: &Arc<Shared>,
    root: Cid,
    count: usize,
    rules: &Rules,
) -> Result<(), ReplicateError> {
    let replicas = &shared.replicas;
    let now = unix_ms();
    let Some((bytes, keepers)) = replicas.sets.lock().get(&root).map(|entry| {
        let standing = entry.set.keepers.iter().filter(|keeper| !keeper.gone);
        (entry.set.bytes, standing.map(|keeper| keeper.node).collect::<Vec<_>>())
    }) else {
        return Ok(());
    };
    let mut candidates: Vec<Candidate> = discovery::known(shared).into_values().collect();
    candidates.retain(|c| c.node != shared.me());
    {
        let sets = replicas.sets.lock();
        candidates.retain(|c| sets.get(&root).is_some_and(|entry| entry.set.may_ask(&c.node, now, rules)));
    }
    candidates.sort_by_key(|candidate| (candidate.rtt_us.unwrap_or(u64::MAX), candidate.node));
    candidates.truncate(ASKED);
    let asked = candidates.into_iter().map(|candidate| async move {
        let asked = tokio::time::timeout(OFFER_PATIENCE, ask(shared, root, bytes, &candidate)).await;
        (candidate.node, asked.unwrap_or_else(|_| Err(silent("it does not answer"))))
    });
    let mut offers = Vec::new();
    for (node, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(offer) => offers.push(offer),
            Err(Trouble::Silent(reason) | Trouble::No(reason)) => {
                replicas.change(&root, |set| set.refused(node, &reason, unix_ms()));
            }
        }
    }
    let mut taken: Vec<Stand> = keepers.iter().map(|node| stand(shared, node)).collect();
    taken.push(own_stand(shared));
    let (everybody, order) =
        (offers.iter().map(|o| o.node).collect::<Vec<_>>(), rank::order(offers, &taken, bytes));
    for node in everybody.iter().filter(|node| !order.contains(node)) {
        replicas.change(&root, |set| set.refused(*node, "it has too little room", unix_ms()));
    }
    let mut next = order.into_iter();
    let place = |node: NodeId| async move {
        let mut talk = match Talk::open(shared, node).await {
            Ok(talk) => talk,
            Err(trouble) => return (node, Err(trouble)),
        };
        let kept = talk.keep(shared, root, node).await;
        talk.finish().await;
        (node, kept)
    };
    let mut placing: FuturesUnordered<_> = next.by_ref().take(count).map(place).collect();
    while let Some((node, kept)) = placing.next().await {
        match kept {
            Ok(until) => {
                replicas.change(&root, |set| set.placed(node, until, unix_ms()));
                replicas.save(&root).await?;
                tracing::info!(%root, %node, "a copy is placed");
            }
            Err(Trouble::Silent(reason) | Trouble::No(reason)) => {
                tracing::info!(%root, %node, reason, "a copy is not placed");
                replicas.change(&root, |set| set.refused(node, &reason, unix_ms()));
                placing.extend(next.next().map(place));
            }
        }
    }
    Ok(())
}

async fn ask(shared: &Shared, root: Cid, bytes: u64, candidate: &Candidate) -> Result<Offer, Trouble> {
    let mut talk = Talk::open(shared, candidate.node).await?;
    let question = FromOwner::Ask { root, bytes, account: shared.account() };
    match talk.say(&question).await? {
        FromKeeper::Offer { free, have } => {
            talk.finish().await;
            let node = candidate.node;
            Ok(Offer { node, stand: stand(shared, &node), rtt_us: candidate.rtt_us, free, have })
        }
        _ => Err(silent("it broke the protocol")),
    }
}

fn stand(shared: &Shared, node: &NodeId) -> Stand {
    let peer = peer_of(node);
    let operator = shared.net.advertisement(&peer).map(|advert| advert.body().operator);
    let addresses = shared.net.peer(&peer).map(|info| info.addrs).unwrap_or_default();
    // Those that worked come first; the rest is only what the peer says.
    Stand { operator, areas: areas(addresses.iter().take(2)) }
}

fn own_stand(shared: &Shared) -> Stand {
    Stand { operator: Some(shared.account()), areas: areas(shared.net.external_addrs().iter()) }
}

fn areas<'a>(addresses: impl Iterator<Item = &'a Multiaddr>) -> Vec<Area> {
    // Of the text, because the address's own parts are libp2p's, which only the network crate names.
    let ip = |address: &Multiaddr| address.to_string().split('/').nth(2).and_then(|ip| ip.parse().ok());
    addresses.filter_map(ip).filter_map(Area::of).collect()
}
