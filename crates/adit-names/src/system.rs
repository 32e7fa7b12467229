//! Where records and TXT entries come from, and one step from a name to a path.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

use crate::dnslink;
use crate::limits;
use crate::name::{IpnsName, Name, NamePath, NameSyntax};
use crate::record::{IpnsRecord, RecordError};

/// Why a name leads nowhere.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NameError {
    /// Everybody who was asked knows nothing of it.
    #[error("the name {0} was not found")]
    NotFound(Name),
    /// Nobody could be asked, or nobody answered in time.
    #[error("the name {name} cannot be resolved now: {reason}")]
    Unavailable {
        /// The name.
        name: Name,
        /// What went wrong.
        reason: String,
    },
    /// There was a record, and it is not to be believed.
    #[error("{name}: {source}")]
    Record {
        /// Whose record.
        name: IpnsName,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// The record is in order but names no path.
    #[error("{name} names something that is no path: {source}")]
    Value {
        /// Whose record.
        name: Name,
        /// Why not.
        #[source]
        source: NameSyntax,
    },
    /// Names lead to names, more than [`limits::DEPTH`] times.
    #[error("{0} leads through more than {limit} names", limit = limits::DEPTH)]
    TooDeep(Name),
    /// Names lead back to themselves.
    #[error("{0} leads back to itself")]
    Cycle(Name),
    /// The paths that names stand for add up to more than is accepted.
    #[error("the path behind {0} is too long")]
    TooLong(Name),
}

/// One step of resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the name stands for.
    pub path: NamePath,
    /// How long that may be remembered from now on.
    pub ttl: Duration,
}

/// Answers what names stand for.
#[async_trait]
pub trait NameSystem: Send + Sync {
    /// What a name stands for; one step, verified.
    async fn step(&self, name: &Name) -> Result<Step, NameError>;

    /// The best valid record of a key, verified.
    async fn record(&self, name: &IpnsName) -> Result<IpnsRecord, NameError>;

    /// Keeps a record, and tells the network. Durable in this node's store when it returns; the record must be
    /// valid now, and no older than the one that is known.
    async fn publish(&self, name: &IpnsName, record: IpnsRecord) -> Result<(), NameError>;
}

/// Where encoded records are kept and found: a node's store, the DHT, or a table in memory. What
/// comes from here is verified by [`Names`].
#[async_trait]
pub trait Records: Send + Sync {
    /// The best record that can be found; `None` where there is none.
    ///
    /// # Errors
    /// A text where it could not be looked for.
    async fn get(&self, name: &IpnsName) -> Result<Option<Bytes>, String>;

    /// Keeps a valid record and makes it known.
    ///
    /// # Errors
    /// A text where it could not be kept.
    async fn put(&self, name: &IpnsName, record: &IpnsRecord) -> Result<(), String>;
}

/// TXT strings of a domain and how long they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxtAnswer {
    /// The strings, each put together from its parts.
    pub texts: Vec<String>,
    /// How long to remember them; `None` where the source does not say.
    pub ttl: Option<Duration>,
}

/// Answers TXT queries.
#[async_trait]
pub trait Txt: Send + Sync {
    /// The TXT strings at exactly this domain; none where there are none.
    ///
    /// # Errors
    /// A text where nobody could be asked.
    async fn txt(&self, domain: &str) -> Result<TxtAnswer, String>;
}

/// Keys through [`Records`], domains through [`Txt`], with a cache of bounded size and age.
pub struct Names {
    records: Arc<dyn Records>,
    txt: Arc<dyn Txt>,
    cache: Mutex<LruCache<Name, (Cached, Instant)>>,
}

#[derive(Clone)]
enum Cached {
    Record(Arc<IpnsRecord>),
    Link(NamePath),
}

impl Names {
    /// Puts the sources together.
    pub fn new(records: Arc<dyn Records>, txt: Arc<dyn Txt>) -> Self {
        let size = NonZeroUsize::new(limits::CACHED).expect("not zero");
        Self { records, txt, cache: Mutex::new(LruCache::new(size)) }
    }

    fn cached(&self, name: &Name) -> Option<(Cached, Duration)> {
        let mut cache = self.cache.lock();
        let (value, until) = cache.get(name)?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| (value.clone(), left))
    }

    fn remember(&self, name: &Name, value: Cached, ttl: Duration) {
        if !ttl.is_zero() {
            self.cache.lock().put(name.clone(), (value, Instant::now() + ttl));
        }
    }

    /// The record and how long it may be remembered.
    async fn lookup(&self, key: &IpnsName) -> Result<(Arc<IpnsRecord>, Duration), NameError> {
        let name = Name::Key(*key);
        if let Some((Cached::Record(record), left)) = self.cached(&name) {
            return Ok((record, left));
        }
        let unavailable = |reason| NameError::Unavailable { name: name.clone(), reason };
        let bytes = self.records.get(key).await.map_err(unavailable)?;
        let bytes = bytes.ok_or_else(|| NameError::NotFound(name.clone()))?;
        let wrong = |source| NameError::Record { name: *key, source };
        let record = IpnsRecord::decode(&bytes).map_err(wrong)?;
        let now = SystemTime::now();
        record.verify(key, now).map_err(wrong)?;
        let ttl = ttl_of(&record, now);
        let record = Arc::new(record);
        self.remember(&name, Cached::Record(record.clone()), ttl);
        Ok((record, ttl))
    }

    async fn link(&self, domain: &str) -> Result<Step, NameError> {
        let name = Name::Domain(domain.to_owned());
        if let Some((Cached::Link(path), ttl)) = self.cached(&name) {
            return Ok(Step { path, ttl });
        }
        let mut failed = None;
        for query in dnslink::queries(domain) {
            let answer = match self.txt.txt(&query).await {
                Ok(answer) => answer,
                Err(reason) => {
                    failed.get_or_insert(reason);
                    continue;
                }
            };
            if let Some(path) = dnslink::find(answer.texts.iter().map(String::as_str)) {
                let ttl = answer.ttl.unwrap_or(limits::DEFAULT_TTL).min(limits::LONGEST_TTL);
                self.remember(&name, Cached::Link(path.clone()), ttl);
                return Ok(Step { path, ttl });
            }
        }
        Err(match failed {
            Some(reason) => NameError::Unavailable { name, reason },
            None => NameError::NotFound(name),
        })
    }
}

/// As the record says, within bounds, and never past its end of life.
fn ttl_of(record: &IpnsRecord, now: SystemTime) -> Duration {
    let asked = if record.ttl().is_zero() { limits::DEFAULT_TTL } else { record.ttl() };
    let left = record.valid_until().duration_since(now).unwrap_or_default();
    asked.min(left).min(limits::LONGEST_TTL)
}

#[async_trait]
impl NameSystem for Names {
    async fn step(&self, name: &Name) -> Result<Step, NameError> {
        match name {
            Name::Domain(domain) => self.link(domain).await,
            Name::Key(key) => {
                let (record, ttl) = self.lookup(key).await?;
                let path =
                    value_of(&record).map_err(|source| NameError::Value { name: name.clone(), source })?;
                Ok(Step { path, ttl })
            }
        }
    }

    async fn record(&self, name: &IpnsName) -> Result<IpnsRecord, NameError> {
        Ok((*self.lookup(name).await?.0).clone())
    }

    async fn publish(&self, key: &IpnsName, record: IpnsRecord) -> Result<(), NameError> {
        let name = Name::Key(*key);
        let now = SystemTime::now();
        record.verify(key, now).map_err(|source| NameError::Record { name: *key, source })?;
        let unavailable = |reason| NameError::Unavailable { name: name.clone(), reason };
        self.records.put(key, &record).await.map_err(unavailable)?;
        let ttl = ttl_of(&record, now);
        self.remember(&name, Cached::Record(Arc::new(record)), ttl);
        Ok(())
    }
}

fn value_of(record: &IpnsRecord) -> Result<NamePath, NameSyntax> {
    std::str::from_utf8(record.value())
        .map_err(|_| NameSyntax::NotAPath("(bytes that are not text)".into()))?
        .parse()
}

/// Records in memory: what a node without a network has, and what tests use.
#[derive(Default)]
pub struct MemoryRecords(Mutex<std::collections::HashMap<IpnsName, IpnsRecord>>);

#[async_trait]
impl Records for MemoryRecords {
    async fn get(&self, name: &IpnsName) -> Result<Option<Bytes>, String> {
        Ok(self.0.lock().get(name).map(|record| record.bytes().clone()))
    }

    async fn put(&self, name: &IpnsName, record: &IpnsRecord) -> Result<(), String> {
        let mut records = self.0.lock();
        match records.get(name) {
            Some(known) if known.compare(record).is_gt() => Err("a newer record is known".into()),
            _ if records.len() >= limits::CACHED && !records.contains_key(name) => {
                Err("too many records are kept here".into())
            }
            _ => {
                records.insert(*name, record.clone());
                Ok(())
            }
        }
    }
}
