//! The task that puts fetched blocks into the store, as many at a time as have gathered.

use std::sync::Arc;

use adit_store::{Block, BlockStore, StoreError};
use tokio::sync::mpsc;

use super::budget::Paid;

/// Messages written in one go. Their bytes are bounded by the receive budget anyway.
const MAX_BATCH: usize = 64;

/// Verified blocks of one message, and the budget they occupy until they are stored.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) blocks: Vec<Block>,
    pub(crate) paid: Option<Paid>,
}

/// What became of blocks.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) blocks: Vec<Block>,
    pub(crate) result: Result<(), StoreError>,
}

/// Runs until the engine ends. Queues are bounded by the receive budget: every item is paid for.
pub(crate) async fn run(
    store: Arc<dyn BlockStore>,
    mut fetched: mpsc::UnboundedReceiver<Fetched>,
    stored: mpsc::UnboundedSender<Stored>,
) {
    let mut batch = Vec::new();
    while fetched.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let (blocks, paid): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|fetched| (fetched.blocks, fetched.paid)).unzip();
        let blocks: Vec<Block> = blocks.into_iter().flatten().collect();
        let result = store.put(blocks.clone()).await;
        if let Err(error) = &result {
            tracing::warn!(%error, blocks = blocks.len(), "cannot store fetched blocks");
        }
        drop(paid);
        if stored.send(Stored { blocks, result }).is_err() {
            return;
        }
    }
}
