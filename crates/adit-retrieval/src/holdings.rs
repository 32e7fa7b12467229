//! A gateway as a place where blocks lie: what it holds, and nothing that it would have to look for.
//!
//! Questions are many and mostly about the same few blocks: a peer that wants something asks every node that it knows,
//! and placement counts what is here. So answers are remembered for a moment, negative ones too, within a bound.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cid::Cid;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{Ask, Client, Endpoint, FetchError, Gateway, Held, Limits, Tally, Trust};

/// Answers remembered; each takes some 100 bytes.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("more than none");
/// How long the gateway is believed not to have a block: what is added there is seen this much later.
const ABSENT: Duration = Duration::from_secs(5);
/// How long it is believed to have one. Reading it shows whether it has.
const HELD: Duration = Duration::from_secs(300);
/// Multicodec of sha2-256, the only hash that is verified here.
const SHA2_256: u64 = 0x12;

/// What one gateway holds. Cheap to clone; clones share what they remember.
#[derive(Clone, Debug)]
pub struct Holdings {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    label: String,
    gateway: Gateway,
    slots: Semaphore,
    known: Mutex<LruCache<[u8; 32], (Instant, Known)>>,
    /// Since when it cannot be asked.
    away: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy, Debug)]
enum Known {
    Absent,
    /// And its length, if that was said: Kubo says none.
    Held(Option<u64>),
}

impl Holdings {
    /// Those of the gateway at this place, which the operator named.
    pub fn new(endpoint: Endpoint) -> Self {
        // It is the operator's own and may be restarted at any time, so it is never given up for long.
        let limits = Limits {
            parallel: 16,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(5),
            penalty: Duration::from_secs(60),
            ..Limits::default()
        };
        Self::with(&Client::new(limits), endpoint)
    }

    /// The same, with limits of one's own.
    pub fn with(client: &Client, endpoint: Endpoint) -> Self {
        let label = format!("the gateway at {endpoint}");
        let gateway = Gateway::new(client, endpoint, Trust::Operator);
        let slots = Semaphore::new(client.limits.parallel);
        let known = Mutex::new(LruCache::new(REMEMBERED));
        Self { inner: Arc::new(Inner { label, gateway, slots, known, away: Mutex::default() }) }
    }

    /// What came from it so far.
    pub fn tally(&self) -> Tally {
        self.inner.gateway.tally()
    }

    /// Notes how asking it went; since when it has not gone well.
    pub(crate) fn away_since(&self, answered: bool, now: Instant) -> Instant {
        let mut away = self.inner.away.lock();
        if answered {
            *away = None;
        }
        if answered { now } else { *away.get_or_insert(now) }
    }

    pub(crate) fn label(&self) -> &str {
        &self.inner.label
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        self.inner.gateway.endpoint()
    }

    /// The block's bytes, hashed; `None` where the gateway does not hold it.
    ///
    /// # Errors
    /// The gateway cannot be asked, or gave something else.
    pub async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, FetchError> {
        let Some(key) = key(cid) else { return Ok(None) };
        if let Some(Known::Absent) = self.known(&key) {
            return Ok(None);
        }
        let _slot = self.inner.slots.acquire().await;
        match self.inner.gateway.block(cid, Ask::IfHeld).await {
            Ok(data) => {
                self.remember(key, Known::Held(Some(data.len() as u64)));
                Ok(Some(data))
            }
            Err(FetchError::Absent(_)) => {
                self.remember(key, Known::Absent);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The block's length; `None` where the gateway does not hold it.
    pub async fn size(&self, cid: &Cid) -> Result<Option<u64>, FetchError> {
        let Some(key) = key(cid) else { return Ok(None) };
        match self.known(&key) {
            Some(Known::Absent) => return Ok(None),
            Some(Known::Held(Some(len))) => return Ok(Some(len)),
            Some(Known::Held(None)) | None => {}
        }
        match self.ask(cid, key).await? {
            Held::Yes { len: Some(len) } => Ok(Some(len)),
            // It does not say how long it is, so that has to be found out.
            Held::Yes { len: None } => Ok(self.get(cid).await?.map(|data| data.len() as u64)),
            Held::No => Ok(None),
        }
    }

    /// Whether the gateway holds the block.
    pub async fn has(&self, cid: &Cid) -> Result<bool, FetchError> {
        let Some(key) = key(cid) else { return Ok(false) };
        match self.known(&key) {
            Some(Known::Absent) => Ok(false),
            Some(Known::Held(_)) => Ok(true),
            None => Ok(self.ask(cid, key).await? != Held::No),
        }
    }

    async fn ask(&self, cid: &Cid, key: [u8; 32]) -> Result<Held, FetchError> {
        let _slot = self.inner.slots.acquire().await;
        let held = self.inner.gateway.holds(cid).await?;
        self.remember(
            key,
            match held {
                Held::No => Known::Absent,
                Held::Yes { len } => Known::Held(len),
            },
        );
        Ok(held)
    }

    fn known(&self, key: &[u8; 32]) -> Option<Known> {
        let mut known = self.inner.known.lock();
        let (at, what) = *known.get(key)?;
        let life = if matches!(what, Known::Absent) { ABSENT } else { HELD };
        (at.elapsed() < life).then_some(what)
    }

    fn remember(&self, key: [u8; 32], what: Known) {
        self.inner.known.lock().put(key, (Instant::now(), what));
    }
}

/// Blocks are the same under each codec, as in every store here.
fn key(cid: &Cid) -> Option<[u8; 32]> {
    (cid.hash().code() == SHA2_256).then(|| cid.hash().digest().try_into().ok()).flatten()
}
