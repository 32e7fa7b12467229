//! Gateways of others as sources of blocks: those that the operator names, for everything; those that a router names,
//! for what it was asked about.
//!
//! Sessions ask them beside the swarm's peers ([`adit_net::bitswap::Outside`]). What is kept here is what each was like,
//! so that one that lied in one session is not asked in the next.

use std::collections::HashMap;
use std::sync::Arc;

use adit_net::bitswap::{Outside, OutsideError, OutsideFinder};
use adit_net::{Net, Scope};
use adit_retrieval::{
    Ask, Client, Endpoint, Gateway, Holdings, InvalidEndpoint, Limits, Router, Tally, Trust,
};
use adit_store::Backend;
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use parking_lot::Mutex;

use crate::config::{Config, IpfsBackend};

/// Gateways from records that are remembered.
const REMEMBERED: usize = 256;

/// A setting names something that is no gateway.
#[derive(Debug, thiserror::Error)]
#[error("setting `{key}`")]
pub struct BadGateway {
    key: &'static str,
    #[source]
    source: InvalidEndpoint,
}

/// All gateways that this node knows.
#[derive(Clone)]
pub(crate) struct Gateways {
    /// The one whose blocks are this node's blocks.
    below: Option<Holdings>,
    named: Vec<Arc<Gateway>>,
    finder: Arc<Finder>,
}

struct Finder {
    client: Client,
    routers: Vec<Router>,
    /// What records are believed to lead to. On a network of this machine or LAN all addresses are private.
    trust: Trust,
    found: Mutex<HashMap<Endpoint, Arc<Gateway>>>,
}

impl Gateways {
    /// Those of the settings. Nothing is connected yet.
    pub(crate) fn new(config: &Config, scope: Scope) -> Result<Self, BadGateway> {
        let below = match &config.ipfs.backend {
            IpfsBackend::Embedded | IpfsBackend::Kubo(_) => None,
            IpfsBackend::Gateway(url) => {
                let bad = |source| BadGateway { key: "ipfs.backend", source };
                Some(Holdings::new(url.parse().map_err(bad)?))
            }
        };
        let config = &config.retrieval;
        let client = Client::new(Limits::default());
        let named = endpoints("retrieval.gateways", &config.gateways)?;
        let named = named.map(|at| Arc::new(Gateway::new(&client, at, Trust::Operator))).collect();
        let routers = endpoints("retrieval.routers", &config.routers)?;
        let routers = routers.map(|at| Router::new(&client, at)).collect();
        let trust = if scope == Scope::Local { Trust::Operator } else { Trust::Stranger };
        let finder = Finder { client, routers, trust, found: Mutex::default() };
        Ok(Self { below, named, finder: Arc::new(finder) })
    }

    /// What lies below this node's repo, if it is a gateway.
    pub(crate) fn below(&self) -> Option<Arc<dyn Backend>> {
        self.below.clone().map(|holdings| Arc::new(holdings) as Arc<dyn Backend>)
    }

    /// Lets the sessions of this network ask them.
    pub(crate) fn attach(&self, net: &Net) {
        let sources: Vec<Arc<dyn Outside>> = self.named.iter().map(|gateway| source(gateway)).collect();
        let finder =
            (!self.finder.routers.is_empty()).then(|| Arc::clone(&self.finder) as Arc<dyn OutsideFinder>);
        if !sources.is_empty() || finder.is_some() {
            net.ask_outside(sources, finder);
        }
    }

    /// What came from each that the operator named, and from all others together.
    pub(crate) fn tallies(&self) -> Vec<Tally> {
        let mut tallies: Vec<Tally> = self.named.iter().map(|gateway| gateway.tally()).collect();
        if let Some(below) = self.below.as_ref().map(Holdings::tally) {
            match tallies.iter_mut().find(|tally| tally.gateway == below.gateway) {
                Some(same) => same.add(&below),
                None => tallies.push(below),
            }
        }
        if !self.finder.routers.is_empty() {
            let mut all = Tally { gateway: "found".into(), ..Tally::default() };
            for gateway in self.finder.found.lock().values() {
                all.add(&gateway.tally());
            }
            tallies.push(all);
        }
        tallies
    }
}

impl Finder {
    /// The gateway at this place, with what is known of it.
    fn gateway(&self, endpoint: Endpoint) -> Arc<Gateway> {
        let mut found = self.found.lock();
        if found.len() >= REMEMBERED && !found.contains_key(&endpoint) {
            // Those in use, and those that are not to be asked, are remembered before others.
            found.retain(|_, gateway| Arc::strong_count(gateway) > 1 || !gateway.is_ready());
            if found.len() >= REMEMBERED {
                found.clear();
            }
        }
        let gateway = found.entry(endpoint).or_insert_with_key(|endpoint| {
            Arc::new(Gateway::new(&self.client, endpoint.clone(), self.trust))
        });
        Arc::clone(gateway)
    }
}

#[async_trait]
impl OutsideFinder for Finder {
    async fn find(&self, cid: Cid) -> Vec<Arc<dyn Outside>> {
        let asked = self.routers.iter().map(async |router| match router.gateways(&cid).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(router = %router.endpoint(), %error, "a router does not answer");
                Vec::new()
            }
        });
        let found = futures::future::join_all(asked).await;
        found.into_iter().flatten().map(|endpoint| source(&self.gateway(endpoint))).collect()
    }
}

fn endpoints(key: &'static str, texts: &[String]) -> Result<impl Iterator<Item = Endpoint>, BadGateway> {
    let parsed: Result<Vec<Endpoint>, _> = texts.iter().map(|text| text.parse()).collect();
    Ok(parsed.map_err(|source| BadGateway { key, source })?.into_iter())
}

fn source(gateway: &Arc<Gateway>) -> Arc<dyn Outside> {
    Arc::new(Source(Arc::clone(gateway)))
}

/// A gateway as bitswap's sessions see it.
struct Source(Arc<Gateway>);

#[async_trait]
impl Outside for Source {
    fn name(&self) -> String {
        self.0.endpoint().to_string()
    }

    async fn block(&self, cid: &Cid) -> Result<Bytes, OutsideError> {
        let failed = |error: adit_retrieval::FetchError| match error.is_absent() {
            true => OutsideError::Absent,
            false => OutsideError::Failed(format!("{}: {error}", self.0.endpoint())),
        };
        self.0.block(cid, Ask::Fetch).await.map_err(failed)
    }

    fn arrived(&self) -> u64 {
        self.0.arrived()
    }

    fn parallel(&self) -> usize {
        self.0.parallel()
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_name_no_gateway_say_so() {
        let mut config = Config::default();
        config.retrieval.gateways = vec!["example.org".into()];
        let error = Gateways::new(&config, Scope::Internet).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("retrieval.gateways"), "{error}");
    }

    #[test]
    fn what_a_found_gateway_was_like_is_remembered_within_bounds() {
        let gateways = Gateways::new(&Config::default(), Scope::Internet).unwrap();
        let at = |n: usize| format!("http://g{n}.example").parse::<Endpoint>().unwrap();
        let first = gateways.finder.gateway(at(0));
        assert!(Arc::ptr_eq(&first, &gateways.finder.gateway(at(0))));
        for n in 1..3 * REMEMBERED {
            gateways.finder.gateway(at(n));
        }
        assert!(gateways.finder.found.lock().len() <= REMEMBERED);
        assert!(Arc::ptr_eq(&first, &gateways.finder.gateway(at(0))), "it is in use");
    }
}
