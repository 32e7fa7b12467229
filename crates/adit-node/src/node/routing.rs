//! Questions to the DHT, and announcements on request.

use std::str::FromStr as _;

use adit_model::NodeId;
use adit_net::{LookupError, PeerId, ProvideError, node_of};
use cid::Cid;

use super::Node;
use crate::clock::unix_seconds;
use crate::view::Located;

/// Most providers that one question is answered with.
pub const MOST_PROVIDERS: usize = 1000;

/// Why the DHT gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// The text is no peer id.
    #[error("{text:?} is not a peer id: {reason}")]
    PeerId {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody knows where the peer is.
    #[error("nobody whom this node asked knows where {0} is")]
    Unknown(PeerId),
    /// Only what is here can be announced.
    #[error("{0} is not stored here, so it cannot be announced")]
    NotHere(Cid),
    /// The block store failed.
    #[error(transparent)]
    Store(#[from] adit_store::StoreError),
    /// The look-up did not take place.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The announcement did not take place.
    #[error(transparent)]
    Provide(#[from] ProvideError),
}

impl Node {
    /// Up to `num` (1 to [`MOST_PROVIDERS`]) peers that announced this content, this node first if it is one of them.
    /// Takes up to half a minute.
    pub async fn find_providers(&self, root: &Cid, num: usize) -> Result<Vec<Located>, RoutingError> {
        let num = num.clamp(1, MOST_PROVIDERS);
        let net = self.net();
        let mut found = Vec::new();
        if net.provided().iter().any(|own| own.hash() == root.hash()) {
            found.push(self.located(net.peer_id()));
        }
        if found.len() < num {
            let others = net.find_all_providers(root, num - found.len()).await?;
            found.extend(others.into_iter().map(|peer| self.located(peer)));
        }
        Ok(found)
    }

    /// Where a peer is.
    pub async fn find_peer(&self, text: &str) -> Result<Located, RoutingError> {
        let peer = PeerId::from_str(text).map_err(|error| RoutingError::PeerId {
            text: text.chars().take(100).collect(),
            reason: error.to_string(),
        })?;
        if peer != self.net().peer_id() && !self.net().is_connected(&peer) {
            self.net().find_peer(peer).await?;
        }
        let located = self.located(peer);
        if located.addresses.is_empty() { Err(RoutingError::Unknown(peer)) } else { Ok(located) }
    }

    /// Announces content that is here, and from now on; whether any other node was there to hear it.
    pub async fn provide_now(&self, root: Cid) -> Result<bool, RoutingError> {
        if !self.shared.store.has(&root).await? {
            return Err(RoutingError::NotHere(root));
        }
        Ok(self.net().provide_now(root).await?)
    }

    fn located(&self, peer: PeerId) -> Located {
        let net = self.net();
        let addresses = if peer == net.peer_id() {
            let suffix = format!("/p2p/{peer}");
            let bare = |a: &adit_net::Multiaddr| a.to_string().trim_end_matches(&suffix).to_owned();
            let mut all: Vec<String> =
                net.external_addrs().iter().chain(&net.listen_addrs()).map(bare).collect();
            all.sort();
            all.dedup();
            all
        } else {
            net.peer(&peer)
                .map(|info| info.addrs.iter().map(ToString::to_string).collect())
                .unwrap_or_default()
        };
        let adit = peer == net.peer_id()
            || net.peer(&peer).is_some_and(|info| info.adit)
            || net.advertisement(&peer).is_some();
        let mut nodes: Vec<NodeId> = node_of(&peer).filter(|_| adit).into_iter().collect();
        nodes.extend(net.beside().remove(&peer).unwrap_or_default());
        if let Some(own) = self.shared.beside.alias(unix_seconds())
            && own.peer.as_bytes() == peer.to_bytes()
        {
            nodes.insert(0, self.shared.me());
        }
        Located { peer: peer.to_string(), addresses, nodes }
    }
}
