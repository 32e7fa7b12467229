//! Requests on disk: one small database, `pinning-service.redb`, and all of it in memory.

use super::record::Record;
use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;
use std::path::Path;

/// Requests that are kept, at most. Each takes a kilobyte of memory or less.
const MAX_RECORDS: usize = 100_000;
/// Request id → JSON of a [`Record`].
const REQUESTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("requests-1");

/// The requests could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The database refused; `op` names the step.
    #[error("the pinning service's requests: {op} failed: {source}")]
    Database {
        op: &'static str,
        #[source]
        source: Box<redb::Error>,
    },
    /// A row is not what this version writes.
    #[error("the pinning service's requests: {id} cannot be read: {source}")]
    Row {
        id: String,
        #[source]
        source: serde_json::Error,
    },
    /// [`MAX_RECORDS`] are there.
    #[error("there are {MAX_RECORDS} pin requests; remove some")]
    Full,
}

fn failed<E: Into<redb::Error>>(op: &'static str) -> impl FnOnce(E) -> ShelfError {
    move |source| ShelfError::Database { op, source: Box::new(source.into()) }
}

pub(crate) struct Shelf {
    database: Database,
    records: Mutex<BTreeMap<String, Record>>,
}

impl Shelf {
    pub(crate) fn open(dir: &Path) -> Result<Self, ShelfError> {
        let database = Database::create(dir.join("pinning-service.redb")).map_err(failed("open"))?;
        let write = database.begin_write().map_err(failed("begin"))?;
        write.open_table(REQUESTS).map_err(failed("make the table"))?;
        write.commit().map_err(failed("commit"))?;
        let mut records = BTreeMap::new();
        let read = database.begin_read().map_err(failed("begin"))?;
        for row in
            read.open_table(REQUESTS).map_err(failed("open the table"))?.iter().map_err(failed("list"))?
        {
            let (id, bytes) = row.map_err(failed("list"))?;
            let id = id.value().to_owned();
            let record = serde_json::from_slice(bytes.value())
                .map_err(|source| ShelfError::Row { id: id.clone(), source })?;
            records.insert(id, record);
        }
        drop(read);
        Ok(Self { database, records: Mutex::new(records) })
    }

    /// Keeps a record, and in the same commit forgets another. Durable when this returns.
    pub(crate) fn put(&self, record: Record, instead_of: Option<&str>) -> Result<(), ShelfError> {
        let mut records = self.records.lock();
        if records.len() >= MAX_RECORDS && !records.contains_key(&record.id) && instead_of.is_none() {
            return Err(ShelfError::Full);
        }
        let bytes = serde_json::to_vec(&record).expect("a plain struct is JSON");
        let write = self.database.begin_write().map_err(failed("begin"))?;
        {
            let mut table = write.open_table(REQUESTS).map_err(failed("open the table"))?;
            table.insert(&record.id[..], &bytes[..]).map_err(failed("insert"))?;
            if let Some(old) = instead_of {
                table.remove(old).map_err(failed("remove"))?;
            }
        }
        write.commit().map_err(failed("commit"))?;
        if let Some(old) = instead_of {
            records.remove(old);
        }
        records.insert(record.id.clone(), record);
        Ok(())
    }

    /// Forgets a record, durably.
    pub(crate) fn remove(&self, id: &str) -> Result<Option<Record>, ShelfError> {
        let mut records = self.records.lock();
        let write = self.database.begin_write().map_err(failed("begin"))?;
        write.open_table(REQUESTS).map_err(failed("open the table"))?.remove(id).map_err(failed("remove"))?;
        write.commit().map_err(failed("commit"))?;
        Ok(records.remove(id))
    }

    pub(crate) fn get(&self, id: &str) -> Option<Record> {
        self.records.lock().get(id).cloned()
    }

    /// Those for which `fits` holds, newest first.
    pub(crate) fn select(&self, fits: impl Fn(&Record) -> bool) -> Vec<Record> {
        let mut found: Vec<_> = self.records.lock().values().filter(|record| fits(record)).cloned().collect();
        found.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        found
    }
}
