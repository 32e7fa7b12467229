//! Finding and reading blocks: memory first, then the index, then a segment; every byte hashed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cid::Cid;

use super::{
    layout::Place,
    state::{Known, Shared},
};
use crate::{
    StoreError,
    blocks::fits,
    key::{BlockKey, inline_data},
};

/// Blocks up to this size are read and hashed on the caller's thread when they are cached.
const SMALL: usize = 64 << 10;

/// A look-up in the index that takes longer had to wait for the disk.
const QUICK: Duration = Duration::from_millis(1);
/// How long look-ups keep away from the caller's thread after one that was not quick.
const CAUTION: Duration = Duration::from_secs(1);

/// Whether look-ups in the index go to a thread of their own.
///
/// What the kernel has in memory is found in a microsecond or two, and handing that to another thread costs fifty
/// times as much; a slow disk would hold up the caller's runtime. So they are made on the spot until one is not quick.
pub(crate) struct Pace {
    epoch: Instant,
    /// Microseconds after `epoch`.
    careful_until: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { epoch: Instant::now(), careful_until: AtomicU64::new(0) }
    }
}

impl Pace {
    /// When a look-up on the spot begins; `None`: hand it over.
    pub(crate) fn begin(&self) -> Option<Instant> {
        let now = Instant::now();
        let since = now.duration_since(self.epoch).as_micros() as u64;
        (since >= self.careful_until.load(Ordering::Relaxed)).then_some(now)
    }

    pub(crate) fn end(&self, began: Instant) {
        let now = Instant::now();
        if now.duration_since(began) > QUICK {
            let until = now.duration_since(self.epoch) + CAUTION;
            self.careful_until.store(until.as_micros() as u64, Ordering::Relaxed);
        }
    }
}

/// One block's bytes, or why not.
pub(crate) type ReadResult = Result<Option<Bytes>, StoreError>;

/// Where a block is.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Bytes(Bytes),
    At(Place),
}

impl Found {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::At(place) => u64::from(place.len),
        }
    }
}

impl Shared {
    pub(crate) fn ask_index(&self, key: &BlockKey, stamp: u64) -> Result<Option<Place>, StoreError> {
        let place = self.index.get(key)?;
        if let Some(place) = place {
            self.state.lock().places.insert(*key, place, stamp);
        }
        Ok(place)
    }

    /// The same for many, each with a number that comes back beside its place.
    pub(crate) fn ask_index_many(
        &self,
        asked: Vec<(usize, BlockKey, u64)>,
    ) -> Result<Vec<(usize, Option<Place>)>, StoreError> {
        let keys: Vec<BlockKey> = asked.iter().map(|(_, key, _)| *key).collect();
        let places = self.index.get_many(&keys)?;
        let mut state = self.state.lock();
        let found = asked.into_iter().zip(places).map(|((at, key, stamp), place)| {
            if let Some(place) = place {
                state.places.insert(key, place, stamp);
            }
            (at, place)
        });
        Ok(found.collect())
    }

    /// The place as it is now, without the cache.
    fn locate_afresh(&self, key: &BlockKey) -> Result<Option<Found>, StoreError> {
        let known = {
            let mut state = self.state.lock();
            state.places.forget([key]);
            state.lookup(key)
        };
        Ok(match known {
            Known::Bytes(bytes) => Some(Found::Bytes(bytes)),
            Known::At(place) => Some(Found::At(place)),
            Known::Gone => None,
            Known::AskIndex { stamp } => self.ask_index(key, stamp)?.map(Found::At),
        })
    }

    /// Reads and verifies the block at `place`; where it was moved or deleted since, the place is
    /// looked up once more.
    pub(crate) fn read_verified(
        &self,
        cid: &Cid,
        key: &BlockKey,
        place: Place,
    ) -> Result<Option<Bytes>, StoreError> {
        let mut place = place;
        loop {
            let read = self.read(place);
            if let Ok(bytes) = &read
                && fits(cid, bytes)
            {
                return Ok(read.ok());
            }
            match self.locate_afresh(key)? {
                Some(Found::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Found::At(moved)) if moved != place => place = moved,
                Some(Found::At(_)) => {
                    return match read {
                        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                            Err(StoreError::io("read a block")(error))
                        }
                        _ => Err(StoreError::Corrupt { cid: *cid }),
                    };
                }
                None => return Ok(None),
            }
        }
    }

    fn read(&self, place: Place) -> std::io::Result<Bytes> {
        let segment = self.segments.get(place.segment)?;
        Ok(segment.read_at(place.len as usize, u64::from(place.offset))?.into())
    }

    /// A small block that the kernel has in memory, verified; `None` means: take the long way.
    pub(crate) fn read_small_cached(&self, cid: &Cid, place: Place) -> Option<Bytes> {
        if place.len as usize > SMALL {
            return None;
        }
        let mut bytes = vec![0; place.len as usize];
        let file = self.segments.get(place.segment).ok()?;
        let whole = file.read_cached_at(&mut bytes, u64::from(place.offset));
        (whole && fits(cid, &bytes)).then(|| bytes.into())
    }

    /// Where many blocks are, with one snapshot of the index.
    pub(crate) fn find_many(&self, cids: &[Cid]) -> Result<Vec<Option<Found>>, StoreError> {
        let mut found = Vec::with_capacity(cids.len());
        let mut asked = Vec::new();
        {
            let mut state = self.state.lock();
            for (at, cid) in cids.iter().enumerate() {
                let Some(key) = BlockKey::of(cid) else {
                    found.push(inline_data(cid).map(Found::Bytes));
                    continue;
                };
                found.push(match state.lookup(&key) {
                    Known::Bytes(bytes) => Some(Found::Bytes(bytes)),
                    Known::At(place) => Some(Found::At(place)),
                    Known::Gone => None,
                    Known::AskIndex { .. } => {
                        asked.push((at, key));
                        None
                    }
                });
            }
        }
        let keys: Vec<_> = asked.iter().map(|(_, key)| *key).collect();
        for ((at, _), place) in asked.iter().zip(self.index.get_many(&keys)?) {
            found[*at] = place.map(Found::At);
        }
        Ok(found)
    }

    /// Reads and verifies many blocks.
    pub(crate) fn read_many(&self, cids: &[Cid]) -> Result<Vec<ReadResult>, StoreError> {
        let found = self.find_many(cids)?;
        let read = |(cid, found): (&Cid, Option<Found>)| match (found, BlockKey::of(cid)) {
            (Some(Found::Bytes(bytes)), _) => Ok(Some(bytes)),
            (Some(Found::At(place)), Some(key)) => self.read_verified(cid, &key, place),
            _ => Ok(None),
        };
        Ok(cids.iter().zip(found).map(read).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_that_waited_for_the_disk_sends_the_next_ones_away() {
        let pace = Pace::default();
        let began = pace.begin().expect("nothing is known against it");
        pace.end(began);
        let slow = pace.begin().expect("it was quick") - 2 * QUICK;
        pace.end(slow);
        assert_eq!(pace.begin(), None);
    }
}
