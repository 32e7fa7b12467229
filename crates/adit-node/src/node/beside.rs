//! What the Kubo that this node sits beside says about it: an alias under Kubo's own signature.
//!
//! Kubo announces content under its peer id, not this node's. With the alias in this node's advertisement, whoever finds Kubo
//! in the DHT knows whom to ask for a job. Without it (an old Kubo, one whose RPC is restricted) everything else works.

use std::sync::Arc;
use std::time::Duration;

use adit_kubo::Kubo;
use adit_model::{Alias, KuboId, NodeId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::directory::LIFE as ADVERTISED;
use super::shared::Shared;
use crate::clock::unix_seconds;
use crate::config::Config;

/// How long what Kubo signs holds, in seconds: a Kubo that went away is believed for no longer.
const LIFE: u64 = 3600;
/// How often it is asked again. It may have come back with another identity.
const RENEW: Duration = Duration::from_secs(5 * 60);
/// How soon after it could not, at first and at last.
const RETRY: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(60)];

/// What Kubo said last.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    state: Mutex<State>,
    /// There is something else to advertise.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    alias: Option<Alias>,
    trouble: Option<String>,
}

impl Beside {
    /// The alias, if it holds until this Unix time at least.
    pub(crate) fn alias(&self, until: u64) -> Option<Alias> {
        self.state.lock().alias.clone().filter(|alias| alias.expires >= until)
    }

    /// Why there is none, or why it could not be renewed.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state.lock().trouble.clone()
    }

    /// Notes what came of asking. Gives a trouble that is new.
    fn note(&self, asked: Result<Alias, String>) -> Option<String> {
        let mut state = self.state.lock();
        match asked {
            Ok(alias) => {
                // One that ran out while Kubo was away is no longer in the advertisement.
                let advertised = |known: &Alias| known.expires >= alias.issued + ADVERTISED;
                let same =
                    state.alias.as_ref().is_some_and(|known| known.peer == alias.peer && advertised(known));
                *state = State { alias: Some(alias), trouble: None };
                if !same {
                    self.changed.notify_one();
                }
                None
            }
            Err(trouble) => {
                let known = state.trouble.replace(trouble.clone()) == Some(trouble.clone());
                (!known).then_some(trouble)
            }
        }
    }
}

/// Asks Kubo for its word now and again, until the node stops.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let Some(kubo) = shared.kubo.clone() else { return shared.stop.cancelled().await };
    let mut retry = RETRY[0];
    loop {
        let asked = ask(&kubo, shared.me(), shared.config()).await;
        let pause = match asked.is_ok() {
            true => RENEW,
            false => retry,
        };
        retry = if asked.is_ok() { RETRY[0] } else { (retry * 2).min(RETRY[1]) };
        if let Some(trouble) = shared.beside.note(asked) {
            tracing::warn!(
                "{} has not signed that this node stands beside it, so others do not find this node by what Kubo \
                 announces: {trouble}",
                adit_store::Backend::name(&*kubo)
            );
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// Has Kubo sign, and checks it as others will.
async fn ask(kubo: &Kubo, node: NodeId, config: &Config) -> Result<Alias, String> {
    let (peer, key) = kubo.identity().await.map_err(|e| format!("`id`: {e}"))?;
    let peer: KuboId = peer.parse().map_err(|e| format!("its peer id {peer:?}: {e}"))?;
    let issued = unix_seconds();
    let expires = issued + LIFE;
    let statement = Alias::statement(&peer, node, &config.network, issued, expires);
    let sig = kubo.sign(statement).await.map_err(|e| format!("`key sign`: {e}"))?;
    let key = peer.inline_key().is_none().then(|| key.into());
    let alias = Alias { peer, key, sig: sig.into(), issued, expires };
    adit_net::check_alias(&alias, node, &config.network).map_err(|e| e.to_string())?;
    Ok(alias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kubo_is_told_and_the_same_trouble_once() {
        let beside = Beside::default();
        let alias = |n: u8, expires| {
            let peer = KuboId::from_bytes(&[&[0x12, 0x20][..], &[n; 32]].concat()).unwrap();
            Alias { peer, key: None, sig: vec![1].into(), issued: expires - 1000, expires }
        };
        let told = |beside: &Beside| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            std::pin::pin!(beside.changed.notified()).poll(&mut context).is_ready()
        };
        assert_eq!(beside.note(Err("gone".into())), Some("gone".into()));
        assert_eq!(beside.note(Err("gone".into())), None);
        assert!(!told(&beside));
        assert_eq!(beside.note(Ok(alias(1, 2000))), None);
        assert!(told(&beside) && beside.trouble().is_none());
        assert_eq!(beside.note(Ok(alias(1, 2050))), None);
        assert!(!told(&beside));
        assert_eq!(beside.alias(2050), Some(alias(1, 2050)));
        assert_eq!(beside.note(Ok(alias(1, 3000))), None);
        assert!(told(&beside), "the one before can't be in the advertisement any more");
        // What it signed is of use until it runs out, whatever happens to Kubo.
        assert_eq!(beside.note(Err("gone".into())), Some("gone".into()));
        assert!(beside.alias(3000).is_some() && beside.alias(3001).is_none());
        beside.note(Ok(alias(2, 3000)));
        assert!(told(&beside));
    }
}
