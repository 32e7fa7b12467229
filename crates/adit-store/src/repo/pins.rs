//! The table of pins: what must stay, by its root. A database of its own, because unlike the
//! index it cannot be made again from the segments.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use cid::Cid;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::{StoreError, disk::Medium};

const NAME: &str = "pins.redb";
type Key = (&'static [u8], &'static str);
type Kept = (u8, u8, u64, u64);
/// (binary CID, name) → (kind, keeper, created, expires; both in Unix seconds, 0 for never). The kind is 1 for a direct
/// pin; the keeper is 1 where the backend keeps the blocks.
const PINS: TableDefinition<Key, Kept> = TableDefinition::new("pins-2");
/// The same in format 1. Of the kind, bit 0 is set for a direct pin, and bit 1, which its first programs did not know, for
/// one that the backend keeps.
const PINS_1: TableDefinition<(&[u8], &str), (u8, u64, u64)> = TableDefinition::new("pins-1");
const CACHE: usize = 1 << 20;

/// What a pin covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinKind {
    /// The root and everything below it.
    Recursive,
    /// One block.
    Direct,
}

/// A pin. One root may have several with different names; it stays while one of them does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    pub cid: Cid,
    pub kind: PinKind,
    /// Tells pins of one root apart; empty for a person's plain `pin add`.
    pub name: String,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds after which it no longer counts.
    pub expires: Option<u64>,
    /// Whether the repo's backend keeps the blocks and pins them: they need not be here.
    pub in_backend: bool,
}

#[derive(Debug)]
pub(crate) struct Pins {
    database: Database,
}

impl Pins {
    pub(crate) fn open(medium: &Arc<dyn Medium>) -> Result<Self, StoreError> {
        let open = || {
            let database = medium.open_database(NAME, CACHE)?;
            let write = database.begin_write()?;
            write.open_table(PINS)?;
            write.commit()?;
            Ok::<_, redb::Error>(database)
        };
        Ok(Self { database: open().map_err(StoreError::index("open the pins"))? })
    }

    /// Records a pin durably; one with the same root and name is replaced.
    pub(crate) fn add(&self, pin: &Pin) -> Result<(), StoreError> {
        let add = || {
            let write = self.database.begin_write()?;
            let kind = match pin.kind {
                PinKind::Recursive => 0,
                PinKind::Direct => 1,
            };
            let row = (kind, u8::from(pin.in_backend), pin.created, pin.expires.unwrap_or(0));
            write.open_table(PINS)?.insert((&pin.cid.to_bytes()[..], &pin.name[..]), row)?;
            write.commit()?;
            Ok::<_, redb::Error>(())
        };
        add().map_err(StoreError::index("record a pin"))
    }

    /// Removes the pins of a root for which `which` holds; how many there were.
    pub(crate) fn remove(&self, cid: &Cid, which: impl Fn(&Pin) -> bool) -> Result<usize, StoreError> {
        let victims: Vec<_> = self.of(cid)?.into_iter().filter(which).collect();
        self.remove_all(&victims)?;
        Ok(victims.len())
    }

    pub(crate) fn remove_all(&self, pins: &[Pin]) -> Result<(), StoreError> {
        if pins.is_empty() {
            return Ok(());
        }
        let remove = || {
            let write = self.database.begin_write()?;
            {
                let mut table = write.open_table(PINS)?;
                for pin in pins {
                    table.remove((&pin.cid.to_bytes()[..], &pin.name[..]))?;
                }
            }
            write.commit()?;
            Ok::<_, redb::Error>(())
        };
        remove().map_err(StoreError::index("remove a pin"))
    }

    pub(crate) fn of(&self, cid: &Cid) -> Result<Vec<Pin>, StoreError> {
        let bytes = cid.to_bytes();
        self.collect(Some(&bytes))
    }

    /// All pins, expired ones included.
    pub(crate) fn all(&self) -> Result<Vec<Pin>, StoreError> {
        self.collect(None)
    }

    fn collect(&self, root: Option<&[u8]>) -> Result<Vec<Pin>, StoreError> {
        let collect = || {
            let table = self.database.begin_read()?.open_table(PINS)?;
            let rows = match root {
                Some(root) => table.range((root, "")..)?,
                None => table.iter()?,
            };
            let mut pins = Vec::new();
            for row in rows {
                let (key, value) = row?;
                let (bytes, name) = key.value();
                if root.is_some_and(|root| root != bytes) {
                    break;
                }
                let (kind, keeper, created, expires) = value.value();
                // Only CIDs were ever written; a row that is none is not ours to interpret.
                let Ok(cid) = Cid::try_from(bytes) else { continue };
                let in_backend = keeper != 0;
                let kind = if kind == 1 { PinKind::Direct } else { PinKind::Recursive };
                let expires = (expires != 0).then_some(expires);
                pins.push(Pin { cid, kind, name: name.to_owned(), created, expires, in_backend });
            }
            Ok::<_, redb::Error>(pins)
        };
        collect().map_err(StoreError::index("read the pins"))
    }
}

/// From format 1 to 2: who keeps what a pin covers stands in a column of its own.
pub(super) fn name_keepers(medium: &Arc<dyn Medium>) -> Result<(), StoreError> {
    let upgrade = || {
        let database = medium.open_database(NAME, CACHE)?;
        let write = database.begin_write()?;
        {
            let old = write.open_table(PINS_1)?;
            let mut new = write.open_table(PINS)?;
            for row in old.iter()? {
                let (key, value) = row?;
                let (kind, created, expires) = value.value();
                new.insert(key.value(), (kind & 1, (kind >> 1) & 1, created, expires))?;
            }
        }
        write.delete_table(PINS_1)?;
        write.commit()?;
        Ok::<_, redb::Error>(())
    };
    upgrade().map_err(StoreError::index("upgrade the pins"))
}

impl Pin {
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
