//! What is in a directory, in an order that never changes: sorted by the bytes of the names.

use super::{
    Host,
    bindings::wasi::filesystem::types::{DescriptorType, ErrorCode},
    files::FsResult,
    resolve::Place,
    stop::Stop,
    tree::Body,
};
use adit_unixfs::{
    block::{DAG_PB, RAW},
    read::Entry,
};
use cid::Cid;
use std::sync::Arc;

/// What one entry costs to list, in units.
const COST: u64 = 64;

/// A directory's entries as they were when somebody began to read them.
#[derive(Clone)]
pub(crate) enum Entries {
    /// A virtual directory, or one that the guest made.
    Known(Arc<[Known]>),
    Input(Arc<Vec<Entry>>),
}

pub(crate) struct Known {
    name: String,
    place: Place,
    kind: DescriptorType,
}

impl Entries {
    pub(crate) fn len(&self) -> usize {
        match self {
            Entries::Known(entries) => entries.len(),
            Entries::Input(entries) => entries.len(),
        }
    }

    /// The name of entry `at`, and what has it.
    pub(crate) fn get(&self, at: usize) -> Option<(&str, Place)> {
        match self {
            Entries::Known(entries) => entries.get(at).map(|known| (&*known.name, known.place.clone())),
            Entries::Input(entries) => {
                entries.get(at).map(|entry| (entry.name.as_str(), Place::Input(entry.cid)))
            }
        }
    }
}

impl Host {
    /// Begins to read a directory.
    pub(crate) fn entries_of(&mut self, place: &Place) -> FsResult<Entries> {
        self.require_directory(place)?;
        let known: Vec<(String, Place)> = match place {
            Place::Input(cid) => {
                let entries = self.inputs.list(&mut self.blocks, cid)?;
                self.charge(entries.len() as u64 * COST)?;
                return Ok(Entries::Input(entries));
            }
            Place::Mount(mount) => {
                self.mounts.entries(*mount).map(|(name, place)| (name.clone(), place.clone())).collect()
            }
            Place::Written(node) => match self.tree.body(*node) {
                Some(Body::Directory { entries, .. }) => {
                    entries.iter().map(|(name, node)| (name.clone(), Place::Written(*node))).collect()
                }
                _ => return Err(ErrorCode::NotDirectory.into()),
            },
        };
        self.charge(known.len() as u64 * COST)?;
        let known = known.into_iter().map(|(name, place)| {
            let kind = self.kind(&place)?;
            Ok(Known { name, place, kind })
        });
        Ok(Entries::Known(known.collect::<FsResult<_>>()?))
    }

    /// What entry `at` is, which for an input's is paid for with a block; `None` behind the last one.
    pub(crate) fn entry_kind(
        &mut self,
        entries: &Entries,
        at: usize,
    ) -> Result<Option<DescriptorType>, Stop> {
        self.charge(COST)?;
        let entries = match entries {
            Entries::Known(entries) => return Ok(entries.get(at).map(|known| known.kind)),
            Entries::Input(entries) => entries,
        };
        let Some(entry) = entries.get(at) else { return Ok(None) };
        Ok(Some(match entry.cid.codec() {
            RAW => DescriptorType::RegularFile,
            // Only a dag-pb block knows what it is, so the kinds of those to come are asked for together.
            DAG_PB => {
                let rest =
                    entries[at + 1..].iter().map(|entry| entry.cid).filter(|cid| cid.codec() == DAG_PB);
                let ahead: Vec<Cid> = rest.take(self.blocks.window()).collect();
                self.input_kind(&entry.cid, &ahead)?
            }
            _ => DescriptorType::Unknown,
        }))
    }
}
