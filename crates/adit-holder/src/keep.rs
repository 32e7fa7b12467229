//! What a holder has on its disk: one redb database.
//!
//! | table | key | value |
//! |---|---|---|
//! | `objects-1` | grant (32 bytes) | the [`Object`], DAG-CBOR |
//! | `entries-1` | grant, holder, number in its log | the entry's bytes, then its signature (65) |
//! | `starts-1` | grant, holder | times started, nonce, signature (65) |
//! | `heads-1` | grant | the head, DAG-CBOR; the owner's signed word for it, empty where it is not known |

use crate::group::{Object, Stored};
use crate::marks::Mark;
use adit_release::{Chain, Change, Entry, Head, Id, Promise};
use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::path::Path;

const OBJECTS: TableDefinition<[u8; 32], &[u8]> = TableDefinition::new("objects-1");
const ENTRIES: TableDefinition<([u8; 32], u8, u32), &[u8]> = TableDefinition::new("entries-1");
const STARTS: TableDefinition<([u8; 32], u8), Start> = TableDefinition::new("starts-1");
const HEADS: TableDefinition<[u8; 32], (&[u8], &[u8])> = TableDefinition::new("heads-1");

/// Times started, the nonce of the last, and the holder's signature on it.
type Start = (u32, u64, &'static [u8]);

const NAME: &str = "holder.redb";
const CACHE: usize = 4 << 20;

/// The disk failed, or what is on it is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("the holder's database can't be {doing}")]
    Database { doing: &'static str, source: Box<redb::Error> },
    #[error("the holder's database has a {what} that it never wrote")]
    Damaged { what: &'static str },
}

impl KeepError {
    fn while_(doing: &'static str) -> impl FnOnce(redb::Error) -> Self {
        move |source| Self::Database { doing, source: Box::new(source) }
    }
}

/// Something to make durable.
pub(crate) enum Row {
    Object(Object),
    /// A holder's log goes on with these after its first `at` entries.
    Chain {
        holder: u8,
        at: usize,
        entries: Vec<(Entry, Mark)>,
    },
    Start {
        holder: u8,
        start: Promise,
        mark: Mark,
    },
    Head {
        head: Head,
        words: Option<Bytes>,
    },
}

pub(crate) struct Keep {
    database: Database,
}

impl Keep {
    /// Opens the database in a directory that exists, or makes it.
    pub(crate) fn open(dir: &Path) -> Result<Self, KeepError> {
        let open = || {
            let path = dir.join(NAME);
            if !path.try_exists()? {
                // One whose making was interrupted would not open: it gets its name last.
                let fresh = dir.join(format!("{NAME}.new"));
                match std::fs::remove_file(&fresh) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
                drop(Database::create(&fresh)?);
                std::fs::File::open(&fresh)?.sync_all()?;
                std::fs::rename(&fresh, &path)?;
                std::fs::File::open(dir)?.sync_all()?;
            }
            let database = Database::builder().set_cache_size(CACHE).create(&path)?;
            let write = database.begin_write()?;
            write.open_table(OBJECTS)?;
            write.open_table(ENTRIES)?;
            write.open_table(STARTS)?;
            write.open_table(HEADS)?;
            write.commit()?;
            Ok::<_, redb::Error>(database)
        };
        Ok(Self { database: open().map_err(KeepError::while_("opened"))? })
    }

    /// Makes rows durable, all or none, in one sync.
    pub(crate) fn put<'a>(&self, rows: impl IntoIterator<Item = (Id, &'a Row)>) -> Result<(), KeepError> {
        let put = || {
            let write = self.database.begin_write()?;
            for (grant, row) in rows {
                put_row(&write, grant.0, row)?;
            }
            write.commit()?;
            Ok::<_, redb::Error>(())
        };
        put().map_err(KeepError::while_("written"))
    }

    /// Everything, by object.
    pub(crate) fn all(&self) -> Result<Vec<(Object, Stored)>, KeepError> {
        let objects = self.objects()?;
        let with_stored = |object| self.of(&object).map(|stored| (object, stored));
        objects.into_iter().map(with_stored).collect()
    }

    fn objects(&self) -> Result<Vec<Object>, KeepError> {
        let read = || {
            let table = self.database.begin_read()?.open_table(OBJECTS)?;
            let rows = table.iter()?.map(|row| Ok(row?.1.value().to_vec()));
            rows.collect::<Result<Vec<_>, redb::Error>>()
        };
        let rows = read().map_err(KeepError::while_("read"))?;
        let object = |row: Vec<u8>| {
            serde_ipld_dagcbor::from_slice(&row).map_err(|_| KeepError::Damaged { what: "object" })
        };
        rows.into_iter().map(object).collect()
    }

    fn of(&self, object: &Object) -> Result<Stored, KeepError> {
        let grant = object.grant.0;
        let damaged = |what| move || KeepError::Damaged { what };
        let mut stored = Stored::default();
        let read = || {
            let read = self.database.begin_read()?;
            let (mut entries, mut starts) = (Vec::new(), Vec::new());
            for row in read.open_table(ENTRIES)?.range((grant, 0, 0)..=(grant, u8::MAX, u32::MAX))? {
                let (key, value) = row?;
                entries.push((key.value().1, key.value().2, value.value().to_vec()));
            }
            for row in read.open_table(STARTS)?.range((grant, 0)..=(grant, u8::MAX))? {
                let (key, value) = row?;
                let (boot, nonce, mark) = value.value();
                starts.push((key.value().1, Promise { boot, nonce }, mark.to_vec()));
            }
            let head = read.open_table(HEADS)?.get(grant)?;
            let head = head.map(|row| (row.value().0.to_vec(), Bytes::copy_from_slice(row.value().1)));
            Ok::<_, redb::Error>((entries, starts, head))
        };
        let (entries, starts, head) = read().map_err(KeepError::while_("read"))?;
        let mut logs: Vec<Vec<Entry>> = vec![Vec::new(); object.holders.len()];
        for (holder, number, bytes) in entries {
            let log = logs.get_mut(usize::from(holder)).ok_or_else(damaged("log"))?;
            let (bytes, mark) = bytes.split_last_chunk().ok_or_else(damaged("log entry"))?;
            let entry = Entry::from_bytes(bytes).ok_or_else(damaged("log entry"))?;
            let before = log.last().map_or_else(|| Chain::new(&object.grant, holder).tip(), Entry::id);
            if usize::try_from(number) != Ok(log.len()) || entry.before != before {
                return Err(damaged("gap in a log")());
            }
            stored.marks.put_entry(entry.id(), Mark(*mark));
            log.push(entry);
        }
        let numbered = (0u8..).zip(logs).filter(|(_, entries)| !entries.is_empty());
        stored.changes.extend(numbered.map(|(holder, entries)| Change::Chain { holder, at: 0, entries }));
        for (holder, promise, mark) in starts {
            let mark = mark.try_into().map_err(|_| damaged("start")())?;
            if usize::from(holder) >= object.holders.len() {
                return Err(damaged("start")());
            }
            stored.marks.put_start(holder, promise, Mark(mark));
            stored.changes.push(Change::Promise { holder, promise });
        }
        if let Some((head, words)) = head {
            let head: Head = serde_ipld_dagcbor::from_slice(&head).map_err(|_| damaged("head")())?;
            stored.changes.push(Change::Head(head));
            stored.words = (!words.is_empty()).then_some((head, words));
        }
        Ok(stored)
    }
}

fn put_row(write: &WriteTransaction, grant: [u8; 32], row: &Row) -> Result<(), redb::Error> {
    match row {
        Row::Object(object) => {
            let bytes = serde_ipld_dagcbor::to_vec(object).expect("an object of plain data");
            write.open_table(OBJECTS)?.insert(grant, &bytes[..])?;
        }
        Row::Chain { holder, at, entries } => {
            let mut table = write.open_table(ENTRIES)?;
            let at = *at as u32;
            table.retain_in((grant, *holder, at)..=(grant, *holder, u32::MAX), |_, _| false)?;
            for (number, (entry, mark)) in (at..).zip(entries) {
                table.insert((grant, *holder, number), &[&entry.to_bytes()[..], &mark.0].concat()[..])?;
            }
        }
        Row::Start { holder, start, mark } => {
            write.open_table(STARTS)?.insert((grant, *holder), (start.boot, start.nonce, &mark.0[..]))?;
        }
        Row::Head { head, words } => {
            let head = serde_ipld_dagcbor::to_vec(head).expect("a head of plain data");
            let words = words.as_deref().unwrap_or_default();
            write.open_table(HEADS)?.insert(grant, (&head[..], words))?;
        }
    }
    Ok(())
}
