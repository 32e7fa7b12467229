//! What is said to a keeper: an order, a renewal, a proof asked for, a release.

use std::time::Duration;

use adit_model::{KeepOrder, NodeId, Signed};
use adit_net::{JobStream, peer_of};
use adit_store::StoreError;
use cid::Cid;
use rand::RngExt as _;

use super::super::keeper;
use super::super::shared::Shared;
use crate::clock::unix_ms;
use crate::host::RefusalKind;
use crate::replicas::message::{FromKeeper, FromOwner};

/// How long one may take to be reached and to make an offer.
pub(super) const OFFER_PATIENCE: Duration = Duration::from_secs(10);
/// How long a keeper may be silent while it fetches: it is to say something every two seconds.
const WORD_PATIENCE: Duration = Duration::from_secs(20);
/// How long it may fetch without getting any further.
const STALLED: Duration = Duration::from_secs(60);
/// Where a random walk for a block to be shown ends at the latest.
const DEEPEST: usize = 64;

/// Why a keeper is of no help.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It could not be asked, or can't answer now.
    Silent(String),
    /// It does not keep the content.
    No(String),
}

pub(super) fn silent(reason: impl std::fmt::Display) -> Trouble {
    Trouble::Silent(reason.to_string())
}

/// A stream to a node, with an answer expected soon.
pub(super) struct Talk(JobStream);

impl Talk {
    pub(super) async fn open(shared: &Shared, node: NodeId) -> Result<Self, Trouble> {
        let opening = tokio::time::timeout(OFFER_PATIENCE, shared.net.open_keep(peer_of(&node)));
        Ok(Talk(opening.await.map_err(|_| silent("it cannot be reached"))?.map_err(silent)?))
    }

    pub(super) async fn say(&mut self, message: &FromOwner) -> Result<FromKeeper, Trouble> {
        self.0.send(&message.encode()).await.map_err(silent)?;
        self.next(OFFER_PATIENCE).await
    }

    async fn next(&mut self, patience: Duration) -> Result<FromKeeper, Trouble> {
        let received = tokio::time::timeout(patience, self.0.recv()).await;
        let bytes = received.map_err(|_| silent("it does not answer"))?.map_err(silent)?;
        let message =
            FromKeeper::decode(&bytes.ok_or_else(|| silent("it ended the stream"))?).map_err(silent)?;
        match message {
            FromKeeper::Refuse(refusal) => {
                let later =
                    matches!(refusal.kind, RefusalKind::Busy | RefusalKind::Draining | RefusalKind::Disk);
                Err(if later { Trouble::Silent(refusal.detail) } else { Trouble::No(refusal.detail) })
            }
            other => Ok(other),
        }
    }

    /// Says that there is nothing more to say.
    pub(super) async fn finish(mut self) {
        let _ = self.0.finish().await;
    }

    /// Has it keep the root; gives until when.
    pub(super) async fn keep(&mut self, shared: &Shared, root: Cid, node: NodeId) -> Result<u64, Trouble> {
        let sets = shared.replicas.sets.lock().get(&root).map(|entry| (entry.set.bytes, entry.set.blocks));
        let (bytes, blocks) = sets.ok_or_else(|| silent("it is no longer wanted"))?;
        let lease = shared.config().pins.lease.0;
        let order = KeepOrder {
            root,
            bytes,
            blocks,
            owner: shared.me(),
            keeper: node,
            account: shared.account(),
            until: (unix_ms() + lease.as_millis() as u64).div_ceil(1000),
        };
        let longest = order.until;
        let order = Signed::sign(order, &shared.identity.account).map_err(silent)?;
        let mut answer = self.say(&FromOwner::Keep { order: order.block().to_vec() }).await?;
        let mut progress = (0, tokio::time::Instant::now());
        loop {
            match answer {
                FromKeeper::Kept { until } => return Ok(until.min(longest)),
                FromKeeper::Working { bytes } if bytes > progress.0 => {
                    progress = (bytes, tokio::time::Instant::now());
                }
                FromKeeper::Working { .. } if progress.1.elapsed() < STALLED => {}
                FromKeeper::Working { .. } => return Err(silent("it gets no further")),
                _ => return Err(silent("it broke the protocol")),
            }
            answer = self.next(WORD_PATIENCE).await?;
        }
    }

    /// Has it show that it has one block of the root's, taken by chance.
    async fn check(&mut self, shared: &Shared, root: Cid) -> Result<(), Trouble> {
        let Some((block, data)) = any_block(shared, root).await.map_err(silent)? else { return Ok(()) };
        let nonce = rand::random();
        match self.say(&FromOwner::Check { root, block, nonce }).await? {
            FromKeeper::Proof { hash } if hash == keeper::proof(&nonce, &data) => Ok(()),
            FromKeeper::Proof { .. } => Err(Trouble::No(format!("it could not show {block}"))),
            _ => Err(silent("it broke the protocol")),
        }
    }
}

pub(super) async fn renew(shared: &Shared, root: Cid, node: NodeId) -> Result<Option<u64>, Trouble> {
    let mut talk = Talk::open(shared, node).await?;
    // First the proof: a renewal would make one who has lost it fetch it again, and nobody would hear of it.
    talk.check(shared, root).await?;
    let until = talk.keep(shared, root, node).await?;
    talk.finish().await;
    Ok(Some(until))
}

pub(super) async fn let_go(shared: &Shared, root: Cid, node: NodeId) -> Result<Option<u64>, Trouble> {
    let mut talk = Talk::open(shared, node).await?;
    match talk.say(&FromOwner::Release { root }).await? {
        FromKeeper::Released => {
            talk.finish().await;
            Ok(None)
        }
        _ => Err(silent("it broke the protocol")),
    }
}

/// A block below the root: at each one on the way down, a link is taken by chance. `None` where this node lacks it.
async fn any_block(shared: &Shared, root: Cid) -> Result<Option<(Cid, bytes::Bytes)>, StoreError> {
    let mut cid = root;
    for _ in 0..DEEPEST {
        let Some(data) = shared.store.get(&cid).await? else { return Ok(None) };
        let links = adit_unixfs::links(&cid, &data).unwrap_or_default();
        // One in eight ends here although it could go on, so that inner blocks are shown too.
        if links.is_empty() || rand::rng().random_range(0..8) == 0 {
            return Ok(Some((cid, data)));
        }
        cid = links[rand::rng().random_range(0..links.len())];
    }
    Ok(None)
}
