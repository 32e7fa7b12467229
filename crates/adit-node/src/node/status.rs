//! How the node is, at this moment.

use super::directory::advertised;
use super::shared::Shared;
use crate::clock::unix_seconds;
use crate::view::{KuboStatus, NodeStatus};

/// The node's status.
pub(crate) fn status(shared: &Shared) -> NodeStatus {
    let now = unix_seconds();
    let (running, queued) = shared.slots.counts();
    NodeStatus {
        node: shared.me(),
        operator: shared.account(),
        network: shared.config().network.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: shared.clock.now() / 1_000_000,
        listen: shared.net.listen_addrs().iter().map(ToString::to_string).collect(),
        peers: shared.net.peers().iter().filter(|p| p.connected).count(),
        adit_nodes: advertised(shared).len(),
        accept: shared.config().host.accept.to_string(),
        slots: shared.config().slots(),
        running,
        queued,
        enclave: shared.enclave.status(),
        kubo: kubo(shared),
        day: shared.counters.over(now, 24),
        week: shared.counters.over(now, 7 * 24),
    }
}

/// What is known of the Kubo without asking it.
fn kubo(shared: &Shared) -> Option<KuboStatus> {
    let kubo = shared.kubo.as_ref()?;
    let (away, alias) = (kubo.away(), shared.beside.alias(unix_seconds()));
    Some(KuboStatus {
        name: adit_store::Backend::name(&**kubo).to_owned(),
        peer: alias.map(|alias| alias.peer.to_string()),
        silent_s: away.as_ref().map(|away| away.silent.as_secs()),
        reason: away.map(|away| away.reason).or_else(|| shared.beside.trouble()),
    })
}
