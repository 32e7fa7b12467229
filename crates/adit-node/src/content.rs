//! What a node knows about content without serving it: what a program is, and how much of a DAG
//! is already here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use adit_model::Abi;
use adit_store::{BlockSource, BlockStore, MAX_BLOCK_LEN, SourceError, StoreError};
use adit_unixfs::codec::dag_pb;
use adit_unixfs::read::{FileReader, FileStep, Visit};
use cid::Cid;
use futures::future::join_all;
use parking_lot::Mutex;

/// Multicodec of dag-pb: the only codec whose links say how much is below them.
const DAG_PB: u64 = 0x70;
/// Inner nodes that a survey looks into. With 1024 links a node this covers hundreds of gigabytes.
const SURVEY_NODES: usize = 512;
/// Leaves whose presence a survey checks; the rest is assumed to be like them.
const SURVEY_LEAVES: usize = 4096;
/// Links that wait to be looked at; those beyond are assumed to be like what was seen before.
const SURVEY_PENDING: usize = 32_768;
/// Links that the store is asked about in one question.
const ASKED_TOGETHER: usize = 256;
/// Inner nodes that are read at a time.
const READ_TOGETHER: usize = 16;
/// How long a survey's finding is used again. What was here may be collected, what was missing may
/// arrive; either only costs a fetch or a detour.
const SURVEY_LIFE: Duration = Duration::from_secs(20);
/// Findings kept.
const SURVEYS_KEPT: usize = 8192;
/// Programs whose ABI is remembered.
const PROGRAMS_KEPT: usize = 8192;

/// How much of a DAG is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// Bytes here.
    pub(crate) present: u64,
    /// Bytes known to be missing.
    pub(crate) missing: u64,
    /// Whether even the root is missing, so that `missing` says nothing.
    pub(crate) unknown: bool,
}

impl Presence {
    /// Whether all of it is here, as far as the survey looked.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0 && !self.unknown
    }

    /// Counts what was not looked at: with whatever the rest turned out to be so far.
    fn assume(&mut self, size: u64) {
        let side = if self.missing == 0 { &mut self.present } else { &mut self.missing };
        *side = side.saturating_add(size);
    }

    /// A block is not here, of which a link said how much it is with all below.
    fn lacks(&mut self, claimed: Option<u64>) {
        match claimed {
            Some(size) => self.missing = self.missing.saturating_add(size.max(1)),
            None => self.unknown = true,
        }
    }

    /// Two DAGs together.
    pub(crate) fn and(self, other: Presence) -> Presence {
        Presence {
            present: self.present.saturating_add(other.present),
            missing: self.missing.saturating_add(other.missing),
            unknown: self.unknown || other.unknown,
        }
    }
}

/// Remembers findings for a moment, so that a busy node does not walk the same DAG for every job.
#[derive(Debug, Default)]
pub(crate) struct Surveyor {
    found: Mutex<HashMap<Cid, (Instant, Presence)>>,
}

impl Surveyor {
    /// How much of the DAG below `root` is in the store.
    pub(crate) async fn survey(&self, store: &dyn BlockStore, root: &Cid) -> Result<Presence, StoreError> {
        // A single raw block costs one look-up either way.
        if root.codec() != DAG_PB {
            return single(store, root).await;
        }
        let known = self.found.lock().get(root).copied();
        if let Some((_, presence)) = known.filter(|(at, _)| at.elapsed() < SURVEY_LIFE) {
            return Ok(presence);
        }
        let presence = walk(store, root).await?;
        let mut found = self.found.lock();
        if found.len() >= SURVEYS_KEPT {
            found.retain(|_, (at, _)| at.elapsed() < SURVEY_LIFE);
            if found.len() >= SURVEYS_KEPT {
                found.clear();
            }
        }
        found.insert(*root, (Instant::now(), presence));
        Ok(presence)
    }
}

async fn single(store: &dyn BlockStore, cid: &Cid) -> Result<Presence, StoreError> {
    Ok(match store.size(cid).await? {
        Some(size) => Presence { present: size, ..Presence::default() },
        None => Presence { unknown: true, ..Presence::default() },
    })
}

async fn walk(store: &dyn BlockStore, root: &Cid) -> Result<Presence, StoreError> {
    let mut presence = Presence::default();
    let (mut nodes, mut leaves) = (0, 0);
    let mut pending = vec![(*root, None::<u64>)];
    while !pending.is_empty() {
        // Asked about together: the store may be a program whose every answer takes its time.
        let together = pending.split_off(pending.len().saturating_sub(ASKED_TOGETHER));
        let (asked, read): (Vec<_>, Vec<_>) =
            together.into_iter().partition(|(cid, claimed)| may_be_leaf(cid, *claimed));
        let mut read: Vec<(Cid, Option<u64>)> = read;
        let (asked, rest) = asked.split_at(asked.len().min(SURVEY_LEAVES - leaves));
        rest.iter().for_each(|(_, claimed)| presence.assume(claimed.unwrap_or(0)));
        leaves += asked.len();
        let cids: Vec<Cid> = asked.iter().map(|(cid, _)| *cid).collect();
        for ((cid, claimed), size) in asked.iter().zip(store.sizes(&cids).await?) {
            match size {
                None => presence.lacks(*claimed),
                // All that its link counts is in this one block, or it is of a kind that has none below.
                Some(size) if cid.codec() != DAG_PB || *claimed == Some(size) => {
                    presence.present = presence.present.saturating_add(claimed.unwrap_or(size).max(1));
                }
                Some(_) => read.push((*cid, *claimed)),
            }
        }
        let (read, rest) = read.split_at(read.len().min(SURVEY_NODES - nodes));
        rest.iter().for_each(|(_, claimed)| presence.assume(claimed.unwrap_or(0)));
        nodes += read.len();
        for some in read.chunks(READ_TOGETHER) {
            let blocks = join_all(some.iter().map(|(cid, _)| store.get(cid))).await;
            for ((_, claimed), block) in some.iter().zip(blocks) {
                let Some(block) = block? else {
                    presence.lacks(*claimed);
                    continue;
                };
                presence.present = presence.present.saturating_add(block.len() as u64);
                // A block that is no node has nothing below it; whoever reads it will say so.
                let _ = dag_pb::visit(&block, |link| {
                    // Sizes are their writer's claim: enough for an estimate, and capped against overflow.
                    let claimed = link.tsize.unwrap_or(0);
                    if pending.len() < SURVEY_PENDING {
                        pending.push((link.cid, Some(claimed)));
                    } else {
                        presence.assume(claimed);
                    }
                    Ok(())
                });
            }
        }
    }
    Ok(presence)
}

/// Whether there may be nothing below this block: then its length says more than its bytes, and costs less.
fn may_be_leaf(cid: &Cid, claimed: Option<u64>) -> bool {
    cid.codec() != DAG_PB || claimed.is_some_and(|claimed| claimed <= MAX_BLOCK_LEN as u64)
}

/// The ABIs of programs seen before.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    known: Mutex<HashMap<Cid, Abi>>,
}

/// Why a program's kind cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// Its first block cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is something else.
    #[error("it is not a WebAssembly module or component")]
    NotWasm,
}

impl Programs {
    /// How the program is called, if it was looked at before.
    pub(crate) fn known(&self, code: &Cid) -> Option<Abi> {
        self.known.lock().get(code).copied()
    }

    /// How the program is called, from its first eight bytes.
    pub(crate) async fn abi(&self, source: &dyn BlockSource, code: &Cid) -> Result<Abi, ProgramError> {
        if let Some(abi) = self.known(code) {
            return Ok(abi);
        }
        // WebAssembly binary format: magic, then a version whose upper half is the layer.
        let abi = match head(source, code).await? {
            [0x00, b'a', b's', b'm', 0x01, 0x00, 0x00, 0x00] => Abi::Wasip1,
            [0x00, b'a', b's', b'm', _, 0x00, 0x01, 0x00] => Abi::WasiCliCommand,
            _ => return Err(ProgramError::NotWasm),
        };
        let mut known = self.known.lock();
        if known.len() >= PROGRAMS_KEPT {
            known.clear();
        }
        known.insert(*code, abi);
        Ok(abi)
    }
}

async fn head(source: &dyn BlockSource, file: &Cid) -> Result<[u8; 8], ProgramError> {
    let root = source.block(file).await?;
    let mut reader = FileReader::open(*file, &root).map_err(|_| ProgramError::NotWasm)?;
    let mut head = [0; 8];
    let mut filled = 0;
    while filled < head.len() {
        let step = reader.seek(filled as u64).map_err(|_| ProgramError::NotWasm)?;
        let FileStep::Need(want) = step else { return Err(ProgramError::NotWasm) };
        let block = source.block(&want.cid).await?;
        if let Visit::Data(bytes) = reader.visit(&want, &block).map_err(|_| ProgramError::NotWasm)? {
            let taken = bytes.len().min(head.len() - filled);
            head[filled..filled + taken].copy_from_slice(&bytes[..taken]);
            filled += taken;
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use adit_store::MemoryStore;
    use adit_unixfs::build::FileBuilder;
    use adit_unixfs::data::Metadata;
    use adit_unixfs::{Block, Profile};

    use super::*;

    /// A file of several blocks: its root and all blocks.
    fn file(bytes: &[u8]) -> (Cid, Vec<Block>) {
        file_as(Profile::UnixfsV1_2025, bytes)
    }

    fn file_as(profile: Profile, bytes: &[u8]) -> (Cid, Vec<Block>) {
        let mut builder = FileBuilder::new(profile, Metadata::NONE);
        let mut blocks = Vec::new();
        builder.push(bytes.to_vec().into(), &mut blocks);
        let built = builder.finish(&mut blocks);
        (built.cid, blocks)
    }

    #[tokio::test]
    async fn a_survey_tells_all_some_and_nothing_apart() {
        // Kubo's older default has no raw leaves, so that a link does not tell leaves from inner nodes.
        for profile in [Profile::UnixfsV1_2025, Profile::Legacy] {
            let content: Vec<u8> = (0..5u32 << 18).flat_map(|n| n.to_le_bytes()).collect();
            let (root, blocks) = file_as(profile, &content);
            assert!(blocks.len() > 4);
            let store = MemoryStore::new();
            let surveyed = |store: MemoryStore| async move {
                Surveyor::default().survey(&store, &root).await.map(|p| (p, store)).unwrap()
            };
            let (nothing, store) = surveyed(store).await;
            assert!(nothing.unknown && !nothing.is_complete());
            let most = blocks.iter().filter(|b| b.cid != blocks[0].cid).cloned().collect();
            store.put(most).await.unwrap();
            let (some, store) = surveyed(store).await;
            assert!(!some.is_complete() && some.present > some.missing && some.missing > 0);
            store.put(vec![blocks[0].clone()]).await.unwrap();
            let (all, _) = surveyed(store).await;
            let bytes: usize = blocks.iter().map(|block| block.data.len()).sum();
            assert!(all.is_complete() && all.present == bytes as u64, "{all:?} of {bytes}");
        }
    }

    #[tokio::test]
    async fn programs_are_told_from_their_first_bytes() {
        let store = Arc::new(MemoryStore::new());
        let programs = Programs::default();
        let put = async |bytes: &[u8]| {
            let (cid, blocks) = file(bytes);
            store.put(blocks).await.unwrap();
            cid
        };
        let module = put(b"\0asm\x01\0\0\0rest").await;
        let component = put(b"\0asm\x0d\0\x01\0rest").await;
        let text = put(b"#!/bin/sh\n").await;
        let short = put(b"\0asm").await;
        assert_eq!(programs.abi(&store, &module).await.unwrap(), Abi::Wasip1);
        assert_eq!(programs.abi(&store, &component).await.unwrap(), Abi::WasiCliCommand);
        for bad in [text, short] {
            assert!(matches!(programs.abi(&store, &bad).await, Err(ProgramError::NotWasm)));
        }
        let (absent, _) = file(b"\0asm\x01\0\0\0never stored");
        assert!(matches!(programs.abi(&store, &absent).await, Err(ProgramError::Source(_))));
    }
}
