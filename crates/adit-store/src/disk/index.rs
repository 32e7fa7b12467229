//! The index: which segment holds which block. It is derived from the segments, so losing it
//! costs a scan and never a block. `docs/store.md` says what is committed when.

use std::sync::Arc;

use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::{layout::Place, medium::Medium};
use crate::{StoreError, key::BlockKey};

const NAME: &str = "index.redb";
/// Block key → [`Place`].
const BLOCKS: TableDefinition<&[u8; 32], &[u8; 16]> = TableDefinition::new("blocks-1");
/// One row: everything before this segment and offset is in `BLOCKS` or was deleted.
const SCANNED: TableDefinition<(), (u32, u64)> = TableDefinition::new("scanned-1");

/// Page cache of the index. The kernel caches its pages too, so a small one does.
const CACHE: usize = 16 << 20;

/// Whether opening failed for what is in the file, not for the file system's reasons.
fn is_damage(error: &redb::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => true,
        redb::Error::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        _ => false,
    }
}

/// The point in the log up to which the index is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct LogPosition {
    pub(crate) segment: u32,
    pub(crate) offset: u64,
}

/// What one commit changes.
#[derive(Debug, Default)]
pub(crate) struct IndexChange {
    pub(crate) insert: Vec<(BlockKey, Place)>,
    /// Removed only where the index still names this very place.
    pub(crate) remove: Vec<(BlockKey, Place)>,
    pub(crate) scanned: Option<LogPosition>,
}

#[derive(Debug)]
pub(crate) struct Index {
    medium: Arc<dyn Medium>,
    /// redb refuses everything after an I/O error until it is opened again, so it is replaceable.
    database: RwLock<Option<Database>>,
}

impl Index {
    /// Opens the index, or makes an empty one; one that is damaged is set aside first. The
    /// caller then scans the segments from [`Self::scanned`].
    pub(crate) fn open(medium: Arc<dyn Medium>) -> Result<Self, StoreError> {
        let database = match Self::open_database(&*medium) {
            Ok(database) => database,
            Err(error) if is_damage(&error) => {
                tracing::warn!(%error, "the block index is damaged: rebuilding it from the segments");
                medium.set_database_aside(NAME).map_err(StoreError::io("set the index aside"))?;
                Self::open_database(&*medium).map_err(StoreError::index("make the index"))?
            }
            Err(error) => return Err(StoreError::index("open the index")(error)),
        };
        Ok(Self { medium, database: RwLock::new(Some(database)) })
    }

    fn open_database(medium: &dyn Medium) -> Result<Database, redb::Error> {
        let database = medium.open_database(NAME, CACHE)?;
        let write = database.begin_write()?;
        write.open_table(BLOCKS)?;
        write.open_table(SCANNED)?;
        write.commit()?;
        Ok(database)
    }

    /// Opens the database again after a failure, a full disk for instance.
    pub(crate) fn reopen(&self) -> Result<(), StoreError> {
        let mut slot = self.database.write();
        // The old one must be closed first: redb locks its file.
        *slot = None;
        *slot = Some(Self::open_database(&*self.medium).map_err(StoreError::index("reopen the index"))?);
        Ok(())
    }

    fn read<T>(
        &self,
        op: &'static str,
        look: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let guard = self.database.read();
        look(guard.as_ref().ok_or(StoreError::Closed)?).map_err(StoreError::index(op))
    }

    pub(crate) fn get(&self, key: &BlockKey) -> Result<Option<Place>, StoreError> {
        self.read("look a block up", |database| {
            let table = database.begin_read()?.open_table(BLOCKS)?;
            Ok(table.get(&key.0)?.map(|value| Place::from_bytes(value.value())))
        })
    }

    /// Looks many up in one snapshot.
    pub(crate) fn get_many(&self, keys: &[BlockKey]) -> Result<Vec<Option<Place>>, StoreError> {
        self.read("look blocks up", |database| {
            let table = database.begin_read()?.open_table(BLOCKS)?;
            let find = |key: &BlockKey| Ok(table.get(&key.0)?.map(|value| Place::from_bytes(value.value())));
            keys.iter().map(find).collect()
        })
    }

    pub(crate) fn scanned(&self) -> Result<LogPosition, StoreError> {
        self.read("read the scanned position", |database| {
            let table = database.begin_read()?.open_table(SCANNED)?;
            let row = table.get(())?.map(|row| row.value());
            Ok(row.map_or_else(LogPosition::default, |(segment, offset)| LogPosition { segment, offset }))
        })
    }

    pub(crate) fn len(&self) -> Result<u64, StoreError> {
        self.read("count the blocks", |database| Ok(database.begin_read()?.open_table(BLOCKS)?.len()?))
    }

    /// Calls `visit` with every entry of one snapshot, in the order of keys.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(BlockKey, Place)) -> Result<(), StoreError> {
        self.read("walk the index", |database| {
            for entry in database.begin_read()?.open_table(BLOCKS)?.iter()? {
                let (key, place) = entry?;
                visit(BlockKey(*key.value()), Place::from_bytes(place.value()));
            }
            Ok(())
        })
    }

    /// Up to `limit` entries with keys after `after`.
    pub(crate) fn page(
        &self,
        after: Option<BlockKey>,
        limit: usize,
    ) -> Result<Vec<(BlockKey, Place)>, StoreError> {
        use std::ops::Bound;
        self.read("list the index", |database| {
            let table = database.begin_read()?.open_table(BLOCKS)?;
            let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key.0));
            let range = table.range::<&[u8; 32]>((from, Bound::Unbounded))?;
            range
                .take(limit)
                .map(|entry| {
                    let (key, place) = entry?;
                    Ok((BlockKey(*key.value()), Place::from_bytes(place.value())))
                })
                .collect()
        })
    }

    /// Commits a change durably. On failure the index is as before, opened afresh.
    pub(crate) fn commit(&self, change: &IndexChange) -> Result<(), StoreError> {
        let result = self.read("commit the index", |database| {
            let mut write = database.begin_write()?;
            // Saves the free-page map with the commit, so that opening after a crash does not
            // walk the whole index.
            write.set_quick_repair(true);
            {
                let mut blocks = write.open_table(BLOCKS)?;
                for (key, place) in &change.remove {
                    let old = blocks.remove(&key.0)?.map(|old| *old.value());
                    if let Some(other) = old.filter(|old| *old != place.to_bytes()) {
                        blocks.insert(&key.0, &other)?;
                    }
                }
                for (key, place) in &change.insert {
                    blocks.insert(&key.0, &place.to_bytes())?;
                }
                if let Some(at) = change.scanned {
                    write.open_table(SCANNED)?.insert((), (at.segment, at.offset))?;
                }
            }
            write.commit()?;
            Ok(())
        });
        if result.is_err() {
            // The first error says more than what a failing reopen would add.
            let _ = self.reopen();
        }
        result
    }
}
