//! Other nodes: what they advertise, which of them were caught, and what this one advertises.
//! Its task also does what has to be done every few seconds.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use adit_model::{
    Abi, Abilities, Advertisement, EvidenceKind, NodeId, Profile, SignatureError, Signed, Verified,
};
use adit_net::{Advert, peer_of};
use parking_lot::Mutex;

use super::shared::Shared;
use crate::clock::unix_seconds;
use crate::view::NodeView;

/// How long an advertisement holds.
pub(super) const LIFE: u64 = 15 * 60;
/// How often it is renewed: twice within its life a renewal may fail.
const RENEW: Duration = Duration::from_secs(5 * 60);
/// How often streams that nobody uses and verdicts that have run out are tidied away.
const TIDY: Duration = Duration::from_secs(5);
/// Room on the disk below which other people's jobs are refused: the default output limit of a few jobs.
const LEAST_ROOM: u64 = 256 << 20;
/// How long a node that was caught is not asked.
const DISTRUST: Duration = Duration::from_secs(3600);
/// Nodes that were caught lately. What they advertise the network's own book knows.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    caught: Mutex<HashMap<NodeId, (String, Instant)>>,
}

impl Directory {
    /// The node delivered what does not hold: it is not asked for an hour.
    pub(crate) fn distrust(&self, node: NodeId, reason: &str) {
        self.caught.lock().insert(node, (reason.to_owned(), Instant::now() + DISTRUST));
    }

    /// Whether the node was caught lately.
    pub(crate) fn is_distrusted(&self, node: &NodeId) -> bool {
        self.caught.lock().get(node).is_some_and(|(_, until)| Instant::now() < *until)
    }

    fn tidy(&self) {
        self.caught.lock().retain(|_, (_, until)| Instant::now() < *until);
    }
}

/// What other nodes of this network say of themselves, signatures checked.
pub(crate) fn advertised(shared: &Shared) -> Vec<Advert> {
    let network = &shared.config().network;
    let all = shared.net.advertisements().into_iter().map(|(_, advert)| advert);
    all.filter(|advert| advert.body().network == *network && advert.body().node != shared.me()).collect()
}

/// Tells the network about this node and keeps the directory up to date, until the node stops.
pub(crate) async fn keep(shared: std::sync::Arc<Shared>) {
    let mut renew_at = Instant::now();
    loop {
        shared.directory.tidy();
        look_at_disk(&shared).await;
        shared.streams.tidy();
        // Before the enclave is up there is nothing to offer.
        if Instant::now() >= renew_at
            && let Some((_, runtime)) = shared.enclave.job_key()
        {
            match advertisement(&shared, &runtime) {
                Ok(advertisement) => {
                    if let Err(e) = shared.net.advertise(advertisement).await {
                        tracing::warn!(error = %e, "this node's advertisement was not taken");
                    }
                }
                Err(e) => tracing::warn!(error = %e, "this node cannot advertise"),
            }
            renew_at = Instant::now() + RENEW;
        }
        tokio::select! {
            () = tokio::time::sleep(TIDY) => {}
            () = shared.beside.changed.notified() => renew_at = Instant::now(),
            () = shared.stop.cancelled() => return,
        }
    }
}

/// Notes whether there is room for results.
async fn look_at_disk(shared: &Shared) {
    if let Ok(stat) = shared.repo.stat().await {
        let room = stat.limit.map_or(stat.free, |limit| limit.saturating_sub(stat.used).min(stat.free));
        shared.disk_low.store(room < LEAST_ROOM, Ordering::Relaxed);
    }
}

fn advertisement(shared: &Shared, runtime: &str) -> Result<Verified<Advertisement>, SignatureError> {
    let config = shared.config();
    let now = unix_seconds();
    let mut abis = vec![Abi::Wasip1, Abi::WasiCliCommand];
    abis.sort();
    let mut profiles = vec![Profile::Deterministic, Profile::Fast];
    profiles.sort();
    let advertisement = Advertisement {
        node: shared.me(),
        alias: shared.beside.alias(now + LIFE),
        operator: shared.account(),
        network: config.network.clone(),
        addresses: addresses(shared),
        abilities: Abilities {
            accept: config.host.accept,
            abis,
            profiles,
            evidence: vec![EvidenceKind::None],
            runtime: runtime.to_owned(),
            workers: config.slots() as u32,
            memory: config.host.memory.0,
            output: config.host.scratch.0,
        },
        issued: now,
        expires: now + LIFE,
    };
    Signed::sign(advertisement, &shared.identity.node)
}

fn addresses(shared: &Shared) -> Vec<String> {
    let suffix = format!("/p2p/{}", shared.me());
    let all = shared.net.external_addrs().into_iter().chain(shared.net.listen_addrs());
    let mut addresses: Vec<String> = Vec::new();
    for address in all {
        let text = address.to_string();
        let text = text.strip_suffix(&suffix).unwrap_or(&text).to_owned();
        let short = text.len() <= adit_model::limits::ADDRESS_BYTES;
        if short && !addresses.contains(&text) && addresses.len() < adit_model::limits::ADDRESSES {
            addresses.push(text);
        }
    }
    addresses
}

/// What is shown of the nodes known.
pub(crate) fn views(shared: &Shared) -> Vec<NodeView> {
    let caught = shared.directory.caught.lock();
    let mut views: Vec<NodeView> = advertised(shared)
        .iter()
        .map(|advert| {
            let a = advert.body();
            let info = shared.net.peer(&peer_of(&a.node));
            NodeView {
                node: a.node,
                operator: a.operator,
                kubo: a.alias.as_ref().map(|alias| alias.peer.to_string()),
                connected: info.as_ref().is_some_and(|i| i.connected),
                rtt_us: info.and_then(|i| i.rtt).map(|rtt| rtt.as_micros() as u64),
                accept: a.abilities.accept.to_string(),
                runtime: a.abilities.runtime.clone(),
                expires: a.expires,
                distrusted: caught.get(&a.node).map(|(reason, _)| reason.clone()),
            }
        })
        .collect();
    views.sort_by_key(|view| (!view.connected, view.rtt_us.unwrap_or(u64::MAX), view.node));
    views
}

#[cfg(test)]
mod tests {
    use adit_model::NodeSecret;

    use super::*;

    #[test]
    fn who_was_caught_is_not_asked() {
        let directory = Directory::default();
        let node = NodeSecret::from_bytes(&[9; 32]).node();
        assert!(!directory.is_distrusted(&node));
        directory.distrust(node, "forged");
        assert!(directory.is_distrusted(&node));
    }
}
