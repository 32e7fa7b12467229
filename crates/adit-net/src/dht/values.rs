//! IPNS records that others stored with us, and our own. In memory: their owners send them again several times within
//! their life.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant, SystemTime},
};

use adit_names::{IpnsName, IpnsRecord};
use libp2p::{
    PeerId,
    kad::{
        KBucketDistance as Distance, KBucketKey, Record, RecordKey as Key,
        store::{Error, Result},
    },
};

/// How long a record is kept that nobody sends again.
const LIFE: Duration = Duration::from_secs(48 * 3600);

/// More names than a node has keys for; records that it publishes for others may be some of them.
const OWN: usize = 2048;

/// Valid records only, at most so many, the best for each name. When it is full, those stay whose names are nearest to
/// this node in the DHT, which are those that others look for here.
#[derive(Debug)]
pub(super) struct Values {
    local: KBucketKey<PeerId>,
    max: usize,
    records: HashMap<Key, Held>,
    /// Of those that have to make room.
    by_distance: BTreeMap<Distance, Key>,
    own: HashSet<Key>,
}

#[derive(Debug)]
struct Held {
    record: Record,
    ipns: IpnsRecord,
}

/// The record, if it is one that its name's owner signed and that holds now.
pub(crate) fn valid(key: &[u8], value: &[u8], now: SystemTime) -> Option<IpnsRecord> {
    let name = IpnsName::from_routing_key(key)?;
    let record = IpnsRecord::decode(value).ok()?;
    record.verify(&name, now).is_ok().then_some(record)
}

impl Values {
    pub(super) fn new(local: PeerId, max: usize) -> Self {
        Self {
            local: local.into(),
            max: max.max(1),
            records: HashMap::new(),
            by_distance: BTreeMap::new(),
            own: HashSet::new(),
        }
    }

    /// Records of this name are published here: they always have room. Beyond [`OWN`] names they have that of others.
    pub(super) fn own(&mut self, key: Key) {
        if self.own.len() >= OWN {
            return;
        }
        self.by_distance.remove(&self.local.distance(&KBucketKey::new(key.clone())));
        self.own.insert(key);
    }

    pub(super) fn get(&self, key: &Key) -> Option<Cow<'_, Record>> {
        let held = self.records.get(key)?;
        // The clock of the record's owner counts, not only ours.
        let alive = held.ipns.valid_until() > SystemTime::now();
        alive.then_some(Cow::Borrowed(&held.record))
    }

    pub(super) fn put(&mut self, mut record: Record) -> Result<()> {
        // The store's errors have no word for what is not believed.
        let ipns =
            valid(record.key.as_ref(), &record.value, SystemTime::now()).ok_or(Error::ValueTooLarge)?;
        if let Some(held) = self.records.get(&record.key) {
            if held.ipns.compare(&ipns).is_gt() {
                return Err(Error::ValueTooLarge);
            }
        } else if !self.own.contains(&record.key) {
            self.make_room(&record.key)?;
        }
        let until = Instant::now() + LIFE;
        record.expires = Some(record.expires.map_or(until, |at| at.min(until)));
        // Whatever the sender claims: the record's signature says whose it is.
        record.publisher = None;
        self.records.insert(record.key.clone(), Held { record, ipns });
        Ok(())
    }

    fn make_room(&mut self, key: &Key) -> Result<()> {
        let distance = self.local.distance(&KBucketKey::new(key.clone()));
        if self.by_distance.len() >= self.max {
            let (farthest, _) = self.by_distance.last_key_value().expect("a full store has records");
            if distance >= *farthest {
                return Err(Error::MaxRecords);
            }
            let (_, farthest) = self.by_distance.pop_last().expect("just seen");
            self.records.remove(&farthest);
        }
        self.by_distance.insert(distance, key.clone());
        Ok(())
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.records.remove(key);
        self.by_distance.remove(&self.local.distance(&KBucketKey::new(key.clone())));
    }

    pub(super) fn sweep(&mut self, now: Instant) {
        let unix = SystemTime::now();
        let dead = |held: &Held| held.record.is_expired(now) || held.ipns.valid_until() <= unix;
        let dead: Vec<Key> =
            self.records.iter().filter(|(_, held)| dead(held)).map(|(key, _)| key.clone()).collect();
        for key in dead {
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use adit_names::{Draft, Keypair};

    use super::*;

    fn signed(key: &Keypair, sequence: u64, life: Duration) -> Record {
        let name = IpnsName::of(&key.public());
        let draft = Draft {
            value: "/ipfs/bafkqaaa".into(),
            sequence,
            valid_until: SystemTime::now() + life,
            ttl: Duration::from_secs(60),
        };
        let value = IpnsRecord::create(key, &draft).unwrap().bytes().to_vec();
        Record { key: Key::new(&name.routing_key()), value, publisher: Some(PeerId::random()), expires: None }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn only_signed_records_that_hold_are_kept_and_the_best_stays() {
        let mut values = Values::new(PeerId::random(), 100);
        let (key, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
        let record = signed(&key, 2, HOUR);
        values.put(record.clone()).unwrap();
        values.put(record.clone()).unwrap();
        assert!(values.put(signed(&key, 1, HOUR)).is_err(), "an older one");
        values.put(signed(&key, 3, HOUR)).unwrap();
        assert_ne!(values.get(&record.key).unwrap().value, record.value);
        assert!(values.get(&record.key).unwrap().expires.unwrap() <= Instant::now() + LIFE);
        let forged = Record { value: signed(&other, 9, HOUR).value, ..record.clone() };
        let junk = Record { value: vec![0; 100], ..record.clone() };
        let foreign = Record { key: Key::new(b"/pk/whatever"), ..record.clone() };
        let oversized = Record { value: vec![0; 60_000], ..record };
        let expired = signed(&other, 1, Duration::ZERO);
        for bad in [forged, junk, foreign, oversized, expired] {
            assert!(values.put(bad).is_err());
        }
        assert_eq!(values.records.len(), 1);
    }

    #[test]
    fn a_flood_leaves_the_nearest_and_our_own() {
        let mut values = Values::new(PeerId::random(), 10);
        let mine = signed(&Keypair::generate_ed25519(), 1, HOUR);
        let mut all: Vec<Record> = (0..60).map(|_| signed(&Keypair::generate_ed25519(), 1, HOUR)).collect();
        for (n, record) in all.iter().enumerate() {
            let _ = values.put(record.clone());
            if n == 30 {
                values.own(mine.key.clone());
                values.put(mine.clone()).unwrap();
            }
        }
        assert_eq!((values.records.len(), values.by_distance.len()), (11, 10));
        all.sort_by_key(|record| values.local.distance(&KBucketKey::new(record.key.clone())));
        assert!(all[..10].iter().chain([&mine]).all(|record| values.get(&record.key).is_some()));
        values.sweep(Instant::now() + LIFE + HOUR);
        assert!(values.records.is_empty() && values.by_distance.is_empty());
    }
}
