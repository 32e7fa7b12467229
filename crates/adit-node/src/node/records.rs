//! The records of a finished job, as blocks: what a receipt's links lead to.

use adit_unixfs::Block;
use adit_unixfs::block::DAG_CBOR;
use bytes::Bytes;

use super::shared::Shared;

/// Puts Task, Invocation, Outcome and Envelope into the store. Readable at once, durable when the
/// store gets to it: a job is acknowledged by its receipt, not by this copy.
pub(crate) async fn keep(
    shared: &Shared,
    task: &Bytes,
    invocation: &Bytes,
    outcome: &Bytes,
    envelope: &Bytes,
) {
    let blocks = [task, invocation, outcome, envelope].map(|bytes| Block::new(DAG_CBOR, bytes.clone()));
    if let Err(e) = shared.store.put(blocks.into()).await {
        tracing::warn!(error = %e, "the records of a job could not be stored");
    }
}
