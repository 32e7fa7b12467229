//! `replicas.redb`: what this node has copied to others, and what it keeps for others. Written before anything of it is
//! acknowledged; a row is replaced whole in one commit, so a crash leaves the old one or the new one.
//!
//! - `sets-1`: binary root → version byte 1 ‖ DAG-CBOR of [`Set`].
//! - `kept-1`: binary root ‖ binary node id → (account, bytes, until in Unix seconds). The pin itself is the store's; a
//!   row without one is left over, and removed when it is noticed.

use std::path::Path;

use adit_model::{AccountId, NodeId};
use cid::Cid;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::giving::{Kept, Table};
use super::set::Set;

const SETS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("sets-1");
const KEPT: TableDefinition<KeptKey, KeptRow> = TableDefinition::new("kept-1");
/// Root and node.
type KeptKey = (&'static [u8], &'static [u8]);
/// Account, bytes, until.
type KeptRow = (&'static [u8], u64, u64);
const VERSION: u8 = 1;
const CACHE_BYTES: usize = 1 << 20;

/// The file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("replicas.redb: {step} failed")]
pub struct ShelfError {
    step: &'static str,
    #[source]
    source: Box<redb::Error>,
}

fn failed<E: Into<redb::Error>>(step: &'static str) -> impl FnOnce(E) -> ShelfError {
    move |source| ShelfError { step, source: Box::new(source.into()) }
}

/// The file.
#[derive(Debug)]
pub struct Shelf {
    database: Database,
}

impl Shelf {
    /// Opens or creates it, and reads what is there.
    pub fn open(path: &Path) -> Result<(Self, Vec<Set>, Table), ShelfError> {
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(failed("opening the file"))?;
        let make = || {
            let write = database.begin_write()?;
            write.open_table(SETS)?;
            write.open_table(KEPT)?;
            write.commit()?;
            Ok::<_, redb::Error>(())
        };
        make().map_err(failed("opening the tables"))?;
        let read = || {
            let read = database.begin_read()?;
            let (mut sets, mut kept) = (Vec::new(), Table::new());
            for row in read.open_table(SETS)?.iter()? {
                let row = row?.1;
                let Some((&VERSION, bytes)) = row.value().split_first() else { continue };
                match serde_ipld_dagcbor::from_slice(bytes) {
                    Ok(set) => sets.push(set),
                    Err(error) => tracing::warn!(%error, "a replicated pin cannot be read and is left alone"),
                }
            }
            for row in read.open_table(KEPT)?.iter()? {
                let (key, value) = row?;
                let ((root, owner), (account, bytes, until)) = (key.value(), value.value());
                // Only these were ever written; a row that is something else is not ours to interpret.
                let (Ok(root), Ok(owner), Ok(account)) =
                    (Cid::try_from(root), NodeId::from_bytes(owner), <[u8; 20]>::try_from(account))
                else {
                    continue;
                };
                let account = AccountId(account);
                kept.insert((root, owner), Kept { account, bytes, until, fetching: false });
            }
            Ok::<_, redb::Error>((sets, kept))
        };
        let (sets, kept) = read().map_err(failed("reading"))?;
        Ok((Shelf { database }, sets, kept))
    }

    /// Records a set. Durable when this returns.
    pub fn put_set(&self, set: &Set) -> Result<(), ShelfError> {
        let mut value = vec![VERSION];
        value.extend(serde_ipld_dagcbor::to_vec(set).expect("a set always encodes"));
        self.write(|write| {
            write.open_table(SETS)?.insert(&set.root.to_bytes()[..], &value[..])?;
            Ok(())
        })
    }

    /// Forgets a set.
    pub fn remove_set(&self, root: &Cid) -> Result<(), ShelfError> {
        self.write(|write| {
            write.open_table(SETS)?.remove(&root.to_bytes()[..])?;
            Ok(())
        })
    }

    /// Records what is kept for another node. Durable when this returns.
    pub fn put_kept(&self, root: &Cid, owner: &NodeId, kept: &Kept) -> Result<(), ShelfError> {
        self.write(|write| {
            let row = (&kept.account.0[..], kept.bytes, kept.until);
            write.open_table(KEPT)?.insert((&root.to_bytes()[..], &owner.to_bytes()[..]), row)?;
            Ok(())
        })
    }

    /// Forgets what was kept for other nodes.
    pub fn remove_kept(&self, keys: &[(Cid, NodeId)]) -> Result<(), ShelfError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.write(|write| {
            let mut table = write.open_table(KEPT)?;
            for (root, owner) in keys {
                table.remove((&root.to_bytes()[..], &owner.to_bytes()[..]))?;
            }
            Ok(())
        })
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), ShelfError> {
        let write = || {
            let write = self.database.begin_write()?;
            change(&write)?;
            write.commit()?;
            Ok::<_, redb::Error>(())
        };
        write().map_err(failed("writing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("replicas.redb");
        let root = |n: u8| adit_model::TaskCid::of_block(&[n]).to_cid();
        let node = |n: u8| NodeId::from_ed25519([n; 32]);
        let mut set = Set::new(root(1), 3, 10, 1, 5);
        set.placed(node(4), 99, 1000);
        let kept = Kept { account: AccountId([5; 20]), bytes: 7, until: 99, fetching: false };
        {
            let (shelf, sets, table) = Shelf::open(&path).unwrap();
            assert!(sets.is_empty() && table.is_empty());
            shelf.put_set(&set).unwrap();
            shelf.put_set(&Set::new(root(2), 2, 10, 1, 5)).unwrap();
            shelf.remove_set(&root(2)).unwrap();
            shelf.put_kept(&root(3), &node(6), &kept).unwrap();
            shelf.put_kept(&root(3), &node(7), &kept).unwrap();
            shelf.remove_kept(&[(root(3), node(7))]).unwrap();
        }
        let (_, sets, table) = Shelf::open(&path).unwrap();
        assert_eq!(sets, [set]);
        assert_eq!(table, Table::from([((root(3), node(6)), kept)]));
    }
}
