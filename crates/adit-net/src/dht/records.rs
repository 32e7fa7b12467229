//! Provider records: those that others stored with us, bounded and swept, and our own.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map},
    iter,
    time::Instant,
};

use libp2p::{
    PeerId,
    kad::{
        ProviderRecord, Record, RecordKey as Key,
        store::{Error, RecordStore, Result},
    },
};

/// Providers kept for one key, the newest ones: as many as the DHT's replication factor.
const PER_KEY: usize = 20;
/// Addresses kept of one provider.
const ADDRESSES: usize = 8;

/// The record store behind Kademlia. The library's own keeps every key until it is asked for
/// again; this one has a bound and drops what has expired. Value records (IPNS, public keys) are
/// refused: nothing here checks their signatures.
#[derive(Debug)]
pub(crate) struct ProviderRecords {
    local: PeerId,
    max_keys: usize,
    others: HashMap<Key, Vec<ProviderRecord>>,
    own: HashMap<Key, ProviderRecord>,
}

impl ProviderRecords {
    pub(crate) fn new(local: PeerId, max_keys: usize) -> Self {
        Self { local, max_keys, others: HashMap::new(), own: HashMap::new() }
    }

    /// Drops expired records.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.others.retain(|_, records| {
            records.retain(|r| !r.is_expired(now));
            !records.is_empty()
        });
        self.others.shrink_to(self.others.len() * 2);
    }
}

impl RecordStore for ProviderRecords {
    type RecordsIter<'a> = iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = iter::Map<
        hash_map::Values<'a, Key, ProviderRecord>,
        fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>,
    >;

    fn get(&self, _: &Key) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &Key) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        iter::empty()
    }

    fn add_provider(&mut self, mut record: ProviderRecord) -> Result<()> {
        if record.provider == self.local {
            self.own.insert(record.key.clone(), record);
            return Ok(());
        }
        if self.others.len() >= self.max_keys && !self.others.contains_key(&record.key) {
            self.sweep(Instant::now());
            if self.others.len() >= self.max_keys {
                return Err(Error::MaxProvidedKeys);
            }
        }
        record.addresses.truncate(ADDRESSES);
        let records = self.others.entry(record.key.clone()).or_default();
        records.retain(|r| r.provider != record.provider);
        if records.len() >= PER_KEY {
            records.remove(0);
        }
        records.push(record);
        Ok(())
    }

    fn providers(&self, key: &Key) -> Vec<ProviderRecord> {
        let others = self.others.get(key).into_iter().flatten();
        others.chain(self.own.get(key)).cloned().collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.own.values().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, key: &Key, provider: &PeerId) {
        if *provider == self.local {
            self.own.remove(key);
        } else if let Some(records) = self.others.get_mut(key) {
            records.retain(|r| r.provider != *provider);
            if records.is_empty() {
                self.others.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn record(key: u32, provider: PeerId, expires: Instant) -> ProviderRecord {
        let key = Key::new(&key.to_be_bytes());
        ProviderRecord { key, provider, expires: Some(expires), addresses: Vec::new() }
    }

    #[test]
    fn a_flood_of_records_stays_within_bounds_and_expired_ones_make_room() {
        let local = PeerId::random();
        let mut store = ProviderRecords::new(local, 100);
        let soon = Instant::now() - Duration::from_millis(1);
        let later = Instant::now() + Duration::from_secs(3600);
        for key in 0..100 {
            store.add_provider(record(key, PeerId::random(), if key < 50 { soon } else { later })).unwrap();
        }
        for key in 100..150 {
            store.add_provider(record(key, PeerId::random(), later)).unwrap();
        }
        assert!(store.add_provider(record(150, PeerId::random(), later)).is_err());
        assert_eq!(store.others.len(), 100);
        for _ in 0..100 {
            store.add_provider(record(149, PeerId::random(), later)).unwrap();
        }
        assert_eq!(store.providers(&Key::new(&149u32.to_be_bytes())).len(), PER_KEY);
        // Our own are not subject to what others do.
        store.add_provider(record(999, local, later)).unwrap();
        assert_eq!(store.provided().count(), 1);
        store.remove_provider(&Key::new(&999u32.to_be_bytes()), &local);
        assert_eq!(store.provided().count(), 0);
    }
}
