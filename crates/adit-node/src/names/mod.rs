//! IPNS on this node: names of its own keys, kept and told again, and everybody's, resolved.
//!
//! A published record lies on disk before the network hears of it. [`NameService::keep`] tells the network again every
//! few hours, and signs anew before a record's end of life, for as long as the key is here.

mod keys;
mod published;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use adit_names::dns::{Dns, NoDns, TxtTable};
use adit_names::{Draft, IpnsName, IpnsRecord, NameError, NamePath, NameSystem as _, Names, Records, Txt};
use adit_net::Net;
use async_trait::async_trait;
use bytes::Bytes;
use cid::Cid;
use tokio_util::sync::CancellationToken;

pub use keys::{KeyError, KeyRing, SELF};
use published::{Entry, Published};

use crate::config::NamesConfig;
use crate::identity::Identity;
use crate::view::{KeyView, PublishedName};

/// How long a record holds when nothing else is asked for, and at most.
pub const LIFETIME: Duration = Duration::from_secs(48 * 3600);
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
const SHORTEST: Duration = Duration::from_secs(60);
/// How long others may remember a record without asking again, when nothing else is asked for.
pub const TTL: Duration = Duration::from_secs(5 * 60);
/// How often the network is told again.
const REPEAT: Duration = Duration::from_secs(4 * 3600);
/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(60);
/// How long the network is asked for an earlier record of a key that this node has published nothing under.
const EARLIER: Duration = Duration::from_secs(10);

/// Why a name could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What the name is to stand for is no path.
    #[error("{text:?} is not a path to publish: {reason}")]
    Value {
        /// What was given.
        text: String,
        /// Why not.
        reason: String,
    },
    /// The lifetime is out of bounds.
    #[error("a name's lifetime is one minute to a year")]
    Lifetime,
    /// There is no such key, or it cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The record could not be made.
    #[error(transparent)]
    Record(#[from] adit_names::RecordError),
    /// The record could not be kept.
    #[error("the name could not be kept on disk")]
    Disk(#[source] std::io::Error),
    /// Kept, and told as soon as the network can be.
    #[error(transparent)]
    Names(Box<NameError>),
}

impl From<NameError> for PublishError {
    fn from(error: NameError) -> Self {
        Self::Names(Box::new(error))
    }
}

/// See the module's description. One for each node.
pub struct NameService {
    names: Arc<Names>,
    keys: KeyRing,
    published: Arc<Published>,
    net: Net,
    /// One publication at a time: each builds on the one before.
    publishing: tokio::sync::Mutex<()>,
}

/// Records of this node's own keys from its disk, all others from the DHT.
struct NodeRecords {
    net: Net,
    published: Arc<Published>,
}

#[async_trait]
impl Records for NodeRecords {
    async fn get(&self, name: &IpnsName) -> Result<Option<Bytes>, String> {
        if let Some(own) = self.published.get(name).filter(|own| own.record.valid_until() > SystemTime::now())
        {
            return Ok(Some(own.record.bytes().clone()));
        }
        let found = self.net.find_record(name).await.map_err(|error| error.to_string())?;
        Ok(found.map(|record| record.bytes().clone()))
    }

    async fn put(&self, name: &IpnsName, record: &IpnsRecord) -> Result<(), String> {
        self.net.publish_record(name, record).await.map(drop).map_err(|error| error.to_string())
    }
}

impl NameService {
    /// Reads what was published before.
    pub(crate) fn open(
        dir: &Path,
        identity: &Identity,
        net: &Net,
        config: &NamesConfig,
    ) -> std::io::Result<Self> {
        let published = Arc::new(Published::open(&dir.join("net").join("names"))?);
        let keys = KeyRing::new(dir, identity.node.clone());
        let records = Arc::new(NodeRecords { net: net.clone(), published: Arc::clone(&published) });
        let dns = match &config.dns[..] {
            [] => Dns::of_system(),
            servers => Dns::of_servers(servers),
        };
        let txt: Arc<dyn Txt> = match dns {
            Ok(dns) => Arc::new(dns),
            Err(error) => {
                tracing::warn!(error, "domain names cannot be resolved");
                Arc::new(NoDns)
            }
        };
        let txt = match config.dnslink.as_os_str().is_empty() {
            true => txt,
            false => own_links(&config.dnslink, txt)?,
        };
        let names = Arc::new(Names::new(records, txt));
        Ok(Self { names, keys, published, net: net.clone(), publishing: Default::default() })
    }

    /// What names stand for, for whoever follows them.
    pub fn system(&self) -> Arc<Names> {
        Arc::clone(&self.names)
    }

    /// The keys that names can be published under.
    pub fn keys(&self) -> Result<Vec<KeyView>, KeyError> {
        let view = |(key, name): (String, IpnsName)| KeyView { key, name: name.to_string() };
        Ok(self.keys.list()?.into_iter().map(view).collect())
    }

    /// Makes a key of this name.
    pub fn new_key(&self, key: &str) -> Result<KeyView, KeyError> {
        let name = self.keys.create(key)?;
        Ok(KeyView { key: key.to_owned(), name: name.to_string() })
    }

    /// Publishes a path (`/ipfs/…`, `/ipns/…` or a CID) under a key; durable on this node, and told to the network, when
    /// it returns.
    pub async fn publish(
        &self,
        key: &str,
        value: &str,
        lifetime: Duration,
        ttl: Duration,
    ) -> Result<PublishedName, PublishError> {
        if !(SHORTEST..=LONGEST).contains(&lifetime) {
            return Err(PublishError::Lifetime);
        }
        let value = path(value)?;
        let pair = self.keys.pair(key)?;
        let name = IpnsName::of(&pair.public());
        let _one = self.publishing.lock().await;
        let earlier = match self.published.get(&name) {
            Some(own) => Some(own.record),
            // The key may have published elsewhere, or this node's list may be lost.
            None => tokio::time::timeout(EARLIER, self.net.find_record(&name))
                .await
                .ok()
                .and_then(Result::ok)
                .flatten(),
        };
        let sequence = earlier.map_or(0, |record| {
            // A record that says the same for longer replaces one of the same number.
            let same = record.value() == value.as_bytes();
            record.sequence().saturating_add(u64::from(!same))
        });
        let draft = Draft { value: value.clone(), sequence, valid_until: SystemTime::now() + lifetime, ttl };
        let record = IpnsRecord::create(&pair, &draft)?;
        let entry = Entry { key: key.to_owned(), lifetime, record: record.clone() };
        let published = Arc::clone(&self.published);
        tokio::task::spawn_blocking(move || published.keep(name, entry))
            .await
            .map_err(|error| PublishError::Disk(std::io::Error::other(error)))?
            .map_err(PublishError::Disk)?;
        self.names.publish(&name, record).await?;
        Ok(PublishedName { name: name.to_string(), value, sequence })
    }

    /// What a name stands for in the end: an `/ipfs/` path. The name is a key or a domain, with or without `/ipns/`
    /// before it and a path behind it. `one_step` gives what the name itself says.
    pub async fn resolve(&self, text: &str, one_step: bool) -> Result<String, ResolveError> {
        let whole = if text.starts_with('/') { text.to_owned() } else { format!("/ipns/{text}") };
        let parsed: NamePath = whole.parse().map_err(|error: adit_names::name::NameSyntax| {
            ResolveError::Name { text: text.chars().take(100).collect(), reason: error.to_string() }
        })?;
        let NamePath::Ipns(name, rest) = parsed else { return Ok(whole) };
        if one_step {
            let step = self.names.step(&name).await?;
            return Ok(format!("{}{rest}", step.path));
        }
        let found = adit_names::resolve(&*self.names, &name, &rest).await?;
        Ok(format!("/ipfs/{}{}", found.root, found.rest))
    }

    /// Tells the network again what was published, until told to stop.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut told: std::collections::HashMap<IpnsName, Instant> = Default::default();
        loop {
            for (name, entry) in self.published.all() {
                let lately = told.get(&name).is_some_and(|at| at.elapsed() < REPEAT);
                if !lately && !stop.is_cancelled() && self.tell_again(name, entry).await {
                    told.insert(name, Instant::now());
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Whether anybody heard it.
    async fn tell_again(&self, name: IpnsName, entry: Entry) -> bool {
        let _one = self.publishing.lock().await;
        let left = entry.record.valid_until().duration_since(SystemTime::now()).unwrap_or_default();
        let record = if left < entry.lifetime / 2 {
            match self.renewed(name, &entry) {
                Ok(record) => record,
                Err(error) => {
                    tracing::warn!(%name, error = %error, "a published name cannot be renewed");
                    return false;
                }
            }
        } else {
            entry.record
        };
        matches!(self.net.publish_record(&name, &record).await, Ok(1..))
    }

    fn renewed(&self, name: IpnsName, entry: &Entry) -> Result<IpnsRecord, PublishError> {
        let pair = self.keys.pair(&entry.key)?;
        let value = String::from_utf8_lossy(entry.record.value()).into_owned();
        let draft = Draft {
            value,
            sequence: entry.record.sequence(),
            valid_until: SystemTime::now() + entry.lifetime,
            ttl: entry.record.ttl(),
        };
        let record = IpnsRecord::create(&pair, &draft)?;
        let entry = Entry { record: record.clone(), ..entry.clone() };
        self.published.keep(name, entry).map_err(PublishError::Disk)?;
        Ok(record)
    }
}

/// The operator's own DNSLinks, before those of DNS.
fn own_links(file: &Path, behind: Arc<dyn Txt>) -> std::io::Result<Arc<dyn Txt>> {
    let wrong = |why: String| std::io::Error::other(format!("{} (names.dnslink): {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    Ok(Arc::new(TxtTable::parse(&text, behind).map_err(wrong)?))
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It is no name.
    #[error("{text:?} is not a name: {reason}")]
    Name {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A step failed.
    #[error(transparent)]
    Names(#[from] NameError),
}

/// A path as a record states it.
fn path(text: &str) -> Result<String, PublishError> {
    let text = text.trim();
    let whole = match text.parse::<Cid>() {
        Ok(cid) => format!("/ipfs/{cid}"),
        Err(_) => text.to_owned(),
    };
    match whole.parse::<NamePath>() {
        Ok(_) => Ok(whole),
        Err(error) => {
            let text = text.chars().take(100).collect();
            Err(PublishError::Value { text, reason: error.to_string() })
        }
    }
}
