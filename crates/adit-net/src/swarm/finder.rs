//! The DHT as bitswap sees it: somebody who finds providers.

use async_trait::async_trait;
use cid::Cid;
use libp2p::PeerId;
use tokio::sync::{mpsc, oneshot};

use super::{Command, Depth};
use crate::bitswap::ProviderFinder;

/// Providers that one question of bitswap is answered with; a session needs few good ones.
const PROVIDERS: usize = 10;

/// Holds on to the task only weakly: it must end when all handles are gone, and bitswap, which
/// holds this, ends with the task.
pub(super) struct Finder(pub(super) mpsc::WeakSender<Command>);

#[async_trait]
impl ProviderFinder for Finder {
    async fn find(&self, cid: Cid) -> Vec<PeerId> {
        let Some(commands) = self.0.upgrade() else { return Vec::new() };
        let (reply, answer) = oneshot::channel();
        let ask = Command::FindProviders { root: cid, limit: PROVIDERS, depth: Depth::Enough, reply };
        if commands.send(ask).await.is_err() {
            return Vec::new();
        }
        drop(commands);
        match answer.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::debug!(%cid, %error, "cannot look for providers");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }
}
