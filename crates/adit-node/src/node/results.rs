//! Bringing a result home, and keeping results for as long as was promised.

use std::collections::HashSet;

use adit_model::{NodeId, Outcome};
use adit_net::peer_of;
use adit_store::{BlockSource as _, GcError, GcReport, SourceError};
use cid::Cid;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::shared::Shared;
use crate::clock::unix_seconds;

/// Blocks fetched at the same time.
const IN_FLIGHT: usize = 32;
/// Most blocks of one result: far more than the output limit of any task leaves room for.
const MAX_BLOCKS: usize = 1 << 20;

/// Why a result could not be brought here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("a block of the result cannot be read: {0}")]
    Links(#[from] adit_unixfs::codec::CodecError),
    #[error("the result has more than {MAX_BLOCKS} blocks")]
    TooMany,
}

/// Fetches everything that the outcome names; gives the bytes that crossed the network.
pub(crate) async fn fetch(shared: &Shared, outcome: &Outcome, from: NodeId) -> Result<u64, FetchError> {
    let lease = shared.repo.lease("result");
    let session = shared.net.session(vec![peer_of(&from)]);
    let mut pending = outcome.roots();
    pending.iter().for_each(|root| lease.protect(*root));
    let mut seen: HashSet<Cid> = pending.iter().copied().collect();
    let mut under_way = FuturesUnordered::new();
    let session_ref = &session;
    loop {
        while under_way.len() < IN_FLIGHT
            && let Some(cid) = pending.pop()
        {
            under_way.push(async move { session_ref.block(&cid).await.map(|block| (cid, block)) });
        }
        let Some(fetched) = under_way.next().await else { break };
        let (cid, block) = fetched?;
        for link in adit_unixfs::links(&cid, &block)? {
            if seen.insert(link) {
                pending.push(link);
            }
        }
        if seen.len() > MAX_BLOCKS {
            return Err(FetchError::TooMany);
        }
    }
    Ok(session.received().values().sum())
}

/// Collects garbage, sparing the results of jobs whose time is not over.
///
/// Nothing is recorded for a result when it is made; what must stay is worked out here, from the
/// jobs in memory and in history. That keeps a warm job free of any book-keeping on disk.
pub(crate) async fn collect(shared: &Shared) -> Result<GcReport, GcError> {
    let needs = shared.jobs.needs(unix_seconds());
    let lease = shared.repo.lease("results of jobs");
    needs.roots.into_iter().for_each(|root| lease.protect(root));
    let collected = shared.repo.gc().await;
    drop(needs.leases);
    collected
}
