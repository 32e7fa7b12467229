//! What this node would offer for a job: the same for its own jobs and for others'.

use std::sync::atomic::Ordering;

use adit_model::{AccountId, Amount, Task, TaskCid};

use super::shared::Shared;
use crate::clock::unix_seconds;
use crate::content::Presence;
use crate::deny;
use crate::host::{Refusal, RefusalKind};
use crate::placement::Bid;

/// Refuses what an operator's denylist names.
pub(crate) fn permitted(shared: &Shared, task: &Task) -> Result<(), Refusal> {
    match deny::denied(&shared.denials, task) {
        Some(cid) => Err(Refusal::new(RefusalKind::ContentDenied, format!("this node does not use {cid}"))),
        None => Ok(()),
    }
}

/// This node's offer, or its refusal.
pub(crate) async fn offer(
    shared: &Shared,
    task: &Task,
    task_cid: TaskCid,
    issuer: &AccountId,
    wall_ms: u64,
    fresh: bool,
) -> Result<Bid, Refusal> {
    if shared.draining.is_cancelled() {
        return Err(Refusal::new(RefusalKind::Draining, "this node takes nothing new: it is to be stopped"));
    }
    permitted(shared, task)?;
    if shared.enclave.job_key().is_none() {
        return Err(Refusal::new(RefusalKind::EnclaveDown, "this node's enclave is not running"));
    }
    if shared.disk_low.load(Ordering::Relaxed) && *issuer != shared.account() {
        return Err(Refusal::new(RefusalKind::Disk, "this node's disk is nearly full"));
    }
    let queue = shared.slots.would_admit(issuer, task, wall_ms, unix_seconds())?;
    let code_cached = shared.enclave.has_code(&task.code);
    let mut presence = Presence::default();
    // The inputs alone: a program is small beside them, and whether it is compiled is told apart.
    for root in task.inputs.values().map(|input| input.root()).chain(&task.stdin) {
        let found = shared.surveyor.survey(&*shared.store, root).await;
        let found =
            found.map_err(|e| Refusal::new(RefusalKind::Disk, format!("this node's store fails: {e}")))?;
        presence = presence.and(found);
    }
    Ok(Bid {
        bytes_present: presence.present,
        bytes_missing: (!presence.unknown).then_some(presence.missing),
        code_cached,
        remembered: !fresh && shared.config().jobs.remember && shared.enclave.remembered(&task_cid).is_some(),
        queue,
        queue_us: shared.queue_us(queue),
        price: Amount(0),
    })
}
