//! What the DHT stores with us: provider records of others, bounded, swept and kept on disk, our own, and values.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, hash_map},
    io, iter,
    path::Path,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    kad::{
        ProviderRecord, Record, RecordKey as Key,
        store::{Error, RecordStore, Result},
    },
};

use super::{
    log::{Line, RecordLog},
    values::Values,
};
use crate::advert::unix_now;

/// Providers kept for one key, the newest ones: as many as the DHT's replication factor.
const PER_KEY: usize = 20;
/// Addresses kept of one provider, and the bytes that they may have together.
const ADDRESSES: usize = 8;
const ADDRESS_BYTES: usize = 768;
/// A key is a multihash: two varints and a digest of at most 64 bytes.
const KEY_BYTES: usize = 80;
/// How long a record lasts at most; Kademlia sets as much.
const LIFE: Duration = Duration::from_secs(48 * 3600);
/// A full store looks for expired records this often, lest a flood make it look for each of its own.
const FULL_SWEEP: Duration = Duration::from_secs(60);

/// The record store behind Kademlia. The library's own keeps every key until it is asked for again; this one has a
/// bound on all records together, and drops what has expired. When it is full, whoever has most records in it
/// loses the oldest for a newcomer with fewer: a peer that floods pushes out its own. Of value records only IPNS's are
/// taken, and only valid ones ([`Values`]).
#[derive(Debug)]
pub(crate) struct ProviderRecords {
    local: PeerId,
    max: usize,
    keys: HashMap<Key, Vec<Entry>>,
    providers: HashMap<PeerId, Provider>,
    /// How many records each provider has.
    by_count: BTreeSet<(usize, PeerId)>,
    count: usize,
    next: u64,
    swept: Instant,
    own: HashMap<Key, ProviderRecord>,
    values: Values,
    log: Option<RecordLog>,
}

#[derive(Debug)]
struct Entry {
    provider: PeerId,
    expires: Instant,
    /// Where it stands among its provider's records.
    number: u64,
}

#[derive(Debug, Default)]
struct Provider {
    addresses: Vec<Multiaddr>,
    /// Oldest first.
    keys: BTreeMap<u64, Key>,
}

impl ProviderRecords {
    /// A store of at most `max` records of others; with a directory, what it holds survives the process.
    /// Of values there are at most `values`, in memory.
    pub(crate) fn open(local: PeerId, max: usize, values: usize, dir: Option<&Path>) -> io::Result<Self> {
        let now = Instant::now();
        let mut store = Self {
            local,
            max: max.max(1),
            keys: HashMap::new(),
            providers: HashMap::new(),
            by_count: BTreeSet::new(),
            count: 0,
            next: 0,
            swept: now,
            own: HashMap::new(),
            values: Values::new(local, values),
            log: None,
        };
        if let Some(dir) = dir {
            std::fs::create_dir_all(dir)?;
            store.load(RecordLog::read(dir)?, now);
            store.log = Some(RecordLog::create(dir, store.lines(now))?);
        }
        Ok(store)
    }

    fn load(&mut self, lines: Vec<Line>, now: Instant) {
        let unix = unix_now();
        let mut known: HashMap<PeerId, Vec<Multiaddr>> = HashMap::new();
        for line in lines {
            match line {
                Line::Addresses { provider, addresses } => drop(known.insert(provider, addresses)),
                Line::Record { key, provider, expires } => {
                    let left = Duration::from_secs(expires.saturating_sub(unix)).min(LIFE);
                    if left > Duration::ZERO {
                        let addresses = known.get(&provider).cloned().unwrap_or_default();
                        let _ = self.insert(Key::new(&key), provider, addresses, now + left);
                    }
                }
            }
        }
    }

    /// Everything that is worth keeping, for the file.
    fn lines(&self, now: Instant) -> impl Iterator<Item = Line> {
        let unix = unix_now();
        let addresses = |(provider, known): (&PeerId, &Provider)| Line::Addresses {
            provider: *provider,
            addresses: known.addresses.clone(),
        };
        let record = move |key: &Key, entry: &Entry| line(key, entry, now, unix);
        let records =
            self.keys.iter().flat_map(move |(key, entries)| entries.iter().map(move |e| record(key, e)));
        self.providers.iter().map(addresses).chain(records)
    }

    /// Drops expired records.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.values.sweep(now);
        self.sweep_providers(now);
    }

    fn sweep_providers(&mut self, now: Instant) {
        self.swept = now;
        let expired = |(key, entries): (&Key, &Vec<Entry>)| {
            let old = entries.iter().filter(|e| e.expires <= now);
            old.map(|e| (key.clone(), e.provider)).collect::<Vec<_>>()
        };
        let expired: Vec<_> = self.keys.iter().flat_map(expired).collect();
        for (key, provider) in expired {
            self.forget(&key, &provider);
        }
        self.keys.shrink_to(self.keys.len() * 2);
        self.providers.shrink_to(self.providers.len() * 2);
    }

    /// Values under this key are this node's own: they always have room.
    pub(crate) fn own_value(&mut self, key: Key) {
        self.values.own(key);
    }

    fn records_of(&self, provider: &PeerId) -> usize {
        self.providers.get(provider).map_or(0, |known| known.keys.len())
    }

    /// Whether the provider's addresses are new.
    fn insert(
        &mut self,
        key: Key,
        provider: PeerId,
        addresses: Vec<Multiaddr>,
        expires: Instant,
    ) -> Result<bool> {
        if key.as_ref().len() > KEY_BYTES {
            return Err(Error::ValueTooLarge);
        }
        let entry = self.keys.get_mut(&key).and_then(|all| all.iter_mut().find(|e| e.provider == provider));
        if let Some(entry) = entry {
            entry.expires = expires;
        } else {
            self.make_room(&key, &provider)?;
            self.recount(&provider, |known, number| drop(known.insert(number, key.clone())));
            self.keys.entry(key).or_default().push(Entry { provider, expires, number: self.next });
            self.next += 1;
            self.count += 1;
        }
        let known = self.providers.entry(provider).or_default();
        let news = known.addresses != addresses;
        if news {
            known.addresses = addresses;
        }
        Ok(news)
    }

    fn make_room(&mut self, key: &Key, provider: &PeerId) -> Result<()> {
        if let Some(all) = self.keys.get(key)
            && all.len() >= PER_KEY
        {
            let oldest = all[0].provider;
            self.forget(key, &oldest);
        }
        let now = Instant::now();
        if self.count >= self.max && now.duration_since(self.swept) >= FULL_SWEEP {
            self.sweep_providers(now);
        }
        if self.count >= self.max {
            let (most, heaviest) = *self.by_count.last().expect("a full store has providers");
            if self.records_of(provider) + 1 >= most {
                return Err(Error::MaxProvidedKeys);
            }
            let oldest = self.providers[&heaviest].keys.values().next().expect("it has some").clone();
            self.forget(&oldest, &heaviest);
        }
        Ok(())
    }

    /// Changes the keys of a provider and counts them again.
    fn recount(&mut self, provider: &PeerId, change: impl FnOnce(&mut BTreeMap<u64, Key>, u64)) {
        let known = self.providers.entry(*provider).or_default();
        self.by_count.remove(&(known.keys.len(), *provider));
        change(&mut known.keys, self.next);
        match known.keys.len() {
            0 => drop(self.providers.remove(provider)),
            n => drop(self.by_count.insert((n, *provider))),
        }
    }

    fn forget(&mut self, key: &Key, provider: &PeerId) {
        let Some(all) = self.keys.get_mut(key) else { return };
        let Some(at) = all.iter().position(|e| e.provider == *provider) else { return };
        let entry = all.remove(at);
        if all.is_empty() {
            self.keys.remove(key);
        }
        self.count -= 1;
        self.recount(provider, |keys, _| drop(keys.remove(&entry.number)));
    }

    /// Appends to the file. A disk that refuses costs the records at the next restart, not the node.
    fn keep(&mut self, key: &Key, provider: PeerId, news: bool) {
        let Some(log) = &mut self.log else { return };
        let (now, unix) = (Instant::now(), unix_now());
        let mut lines = Vec::with_capacity(2);
        if news {
            let addresses = self.providers.get(&provider).map(|p| p.addresses.clone()).unwrap_or_default();
            lines.push(Line::Addresses { provider, addresses });
        }
        let entry = self.keys.get(key).and_then(|all| all.iter().find(|e| e.provider == provider));
        lines.extend(entry.map(|entry| line(key, entry, now, unix)));
        let mut written = log.append(&lines);
        if written.is_ok() && log.is_long() {
            let dir = log.dir().to_owned();
            written = RecordLog::create(&dir, self.lines(now)).map(|new| self.log = Some(new));
        }
        if let Err(error) = written {
            tracing::warn!(%error, "provider records of others are no longer kept on disk");
            self.log = None;
        }
    }
}

fn line(key: &Key, entry: &Entry, now: Instant, unix: u64) -> Line {
    let expires = unix + entry.expires.saturating_duration_since(now).as_secs();
    Line::Record { key: key.to_vec(), provider: entry.provider, expires }
}

/// The first few addresses, none of which is longer than any real one.
fn bounded(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let mut left = ADDRESS_BYTES;
    let fits = |address: &Multiaddr| {
        let fits = address.len() <= left;
        left -= if fits { address.len() } else { 0 };
        fits
    };
    addresses.into_iter().take(4 * ADDRESSES).filter(fits).take(ADDRESSES).collect()
}

impl RecordStore for ProviderRecords {
    /// For the library's republication, which is off: owners send their records again themselves.
    type RecordsIter<'a> = iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = iter::Map<
        hash_map::Values<'a, Key, ProviderRecord>,
        fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>,
    >;

    fn get(&self, key: &Key) -> Option<Cow<'_, Record>> {
        self.values.get(key)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        self.values.put(record)
    }

    fn remove(&mut self, key: &Key) {
        self.values.remove(key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.provider == self.local {
            self.own.insert(record.key.clone(), record);
            return Ok(());
        }
        let expires = record.expires.unwrap_or_else(|| Instant::now() + LIFE);
        let (key, provider) = (record.key.clone(), record.provider);
        let news = self.insert(record.key, provider, bounded(record.addresses), expires)?;
        self.keep(&key, provider, news);
        Ok(())
    }

    fn providers(&self, key: &Key) -> Vec<ProviderRecord> {
        let record = |entry: &Entry| ProviderRecord {
            key: key.clone(),
            provider: entry.provider,
            expires: Some(entry.expires),
            addresses: self.providers.get(&entry.provider).map(|p| p.addresses.clone()).unwrap_or_default(),
        };
        let others = self.keys.get(key).into_iter().flatten().map(record);
        others.chain(self.own.get(key).cloned()).collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.own.values().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, key: &Key, provider: &PeerId) {
        if *provider == self.local {
            self.own.remove(key);
        } else {
            self.forget(key, provider);
        }
    }
}

#[cfg(test)]
#[path = "records/tests.rs"]
mod tests;
